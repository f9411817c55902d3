# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Serving on Ascend
#
# One machine with NPUs scores for many that have none. Four commands: `doctor` says whether the
# machine is fit, `serve` starts vLLM set up so that its scores are right, `Reranker(base_url=…)` asks
# it, `bench` measures. Here they run on a CPU with `lexical`, which **matches words and is no
# language model**; beside each stands what you type on Ascend. **No NPU took part in this notebook.**
#
# > **中文**：一台装有 NPU 的机器为许多机器打分。`doctor` 检查环境，`serve` 启动参数已配好的 vLLM，`Reranker(base_url=…)` 调用它，
# > `bench` 测速。本例在 CPU 上用 `lexical` 运行，旁边写着昇腾上的命令；本例未在 NPU 上跑过。

# %% [markdown]
# ## Is the machine fit?
#
# `doctor` looks at NPUs, driver, CANN, packages and whether they pair, settings and known faults, and
# says what to do next. With `--model` it also loads the model and has it prove its scores.
#
# | here | on Ascend |
# |---|---|
# | `qwen3-rerank doctor` | `qwen3-rerank doctor --model lexical`, then `--model Qwen/Qwen3-Reranker-8B` |

# %% tags=["varies"]
from offline.shell import Servers, free_ports, run

run("qwen3-rerank doctor")

# %% [markdown]
# ## What would run?
#
# `--dry-run` prints vLLM's own command, and on standard error what was set and why. Nothing is
# hidden: you may copy it into a unit file or a Docker command. `--chat-template` has the server make
# Qwen3-Reranker's prompt; `--middleware` names the gate that refuses what could not get a right score.
#
# | here | on Ascend |
# |---|---|
# | `qwen3-rerank serve lexical --bare --dry-run` | `qwen3-rerank serve Qwen/Qwen3-Reranker-8B --bare --dry-run` |
# | two servers: `--replicas 2` | eight NPUs, two for each server: `--replicas 4 -- --tensor-parallel-size 2` |
# | | only some NPUs: `ASCEND_RT_VISIBLE_DEVICES=0,1` before the command |
#
# > **中文**：`--dry-run` 打印将要执行的 vLLM 命令以及每项设置的原因，可直接抄进 systemd 或 Docker。

# %% tags=["server", "varies"]
run("qwen3-rerank serve lexical --bare --max-length 1024 --dry-run")

# %% [markdown]
# ## In this process
#
# First without any server: the passages as they were retrieved, and the one that comes first after
# reranking.

# %% tags=["answers"]
from qwen3_ascend_rerank import Reranker

question = "Where does the river Danube end?"
passages = [
    "The Black Sea ends where the river begins.",
    "Bread is made of flour, water and salt.",
    "The river Danube ends in the Black Sea.",
]
with Reranker("lexical", max_length=1024) as local:
    here = local.rerank(question, passages)
print("before:", passages[0])
print("after: ", here[0].text)

# %% [markdown]
# ## Two replicas
#
# Each has a port of its own; one that dies is started again, and all end together.

# %% tags=["server"]
port = free_ports(2)
urls = [f"http://127.0.0.1:{port + place}" for place in range(2)]
command = f"qwen3-rerank serve lexical --bare --max-length 1024 --replicas 2 --port {port}"
servers = Servers(command, urls)

# %% [markdown]
# A `Reranker` with several URLs spreads its calls over them, and asks another one when one is down.
# It loads nothing here; token ids go over the wire, so no template of the server's can touch them.
# The scores are those from above.
#
# > **中文**：`Reranker` 给几个 URL 就在它们之间分摊请求，某个副本停了会自动换用其他副本；发送的是 token id，分数与本机计算一致。

# %% tags=["server", "served"]
with Reranker(base_url=urls) as served:
    result = served.rerank(question, passages)

pairs = zip(result, here, strict=True)
difference = max(abs(one.log_odds - other.log_odds) for one, other in pairs)
print("same log-odds within 0.001:", difference < 0.001)
result

# %% [markdown]
# LangChain and LlamaIndex take the same: `Qwen3AscendRerank(base_url=[…], api_key=…)`, or
# `QWEN3_RERANK_BASE_URL` and `QWEN3_RERANK_API_KEY` in the environment.
#
# ## For RAG platforms, and whatever else sends plain texts
#
# Dify, RAGFlow, FastGPT, LiteLLM and many others post a query and documents to `/v1/rerank`. The server
# makes the prompt of them, so the scores are the same again.
#
# > **中文**：Dify、RAGFlow 等平台把查询和文档原文发到 `/v1/rerank`，由服务端拼出提示词，分数仍与上面一致。

# %% tags=["server", "platforms"]
import httpx

asked = {"model": "lexical", "query": question, "documents": passages, "top_n": 1}
answer = httpx.post(f"{urls[0]}/v1/rerank", json=asked, timeout=60)
best = answer.json()["results"][0]
print(round(best["relevance_score"], 4), best["document"]["text"])

# %% [markdown]
# vLLM itself answers 200 also where it was asked for nonsense. The gate says 400 and why; try also an empty
# query, or plain text at `/classify`.

# %% tags=["server", "platforms"]
cut = httpx.post(f"{urls[0]}/v1/rerank", json={**asked, "truncate_prompt_tokens": 50}, timeout=60)
print(cut.status_code, cut.json()["error"]["message"])

# %% [markdown]
# | a platform | on the server |
# |---|---|
# | sends no instruction | `--instruction "Given a medical question, retrieve passages that answer it"` |
# | sends its own model name | `--served-model-name lexical --served-model-name model___VLLM` |
# | runs against vLLM before 0.14 | there is no template: plain texts are refused, `Reranker(base_url=…)` works |
#
# ## How fast is it?
#
# The rows are those of `vllm bench serve`, to be read side by side. The figures below are those of
# one small shared CPU and a tiny model; they say nothing about an NPU.
#
# | here | on Ascend |
# |---|---|
# | `bench --model lexical …` | `bench --model Qwen/Qwen3-Reranker-8B --sweep 1,2,4,8,16 --picture sweep.png` |
# | against servers | the same with `QWEN3_RERANK_BASE_URL=http://npu-host:8000` |

# %% tags=["varies"]
run("qwen3-rerank bench --model lexical --num-requests 6 --documents 4 --concurrency 2")

# %% tags=["server", "varies"]
run(
    "qwen3-rerank bench --num-requests 6 --documents 4 --concurrency 2 --max-length 1024",
    QWEN3_RERANK_BASE_URL=",".join(urls),
)

# %% tags=["server"]
servers.stop()

# %% [markdown]
# ## On a real machine
#
# 1. Install CANN and its driver, then `pip install "qwen3-ascend-rerank[npu,cli]"`: vLLM, vllm-ascend,
#    torch and torch-npu come in versions that must pair; `doctor` knows which do.
# 2. `qwen3-rerank doctor --model lexical` proves card, driver and versions in a minute, before 16 GB
#    of weights are blamed.
# 3. `qwen3-rerank serve Qwen/Qwen3-Reranker-8B --bare --api-key-file key.txt` listens on this machine alone.
# 4. Before others reach it: vLLM asks for the key on `/v1` only (from 0.22 also on `/v2`). `/rerank`, `/score`,
#    `/classify`, `/pooling`, `/invocations` and `/tokenize` answer whoever reaches the port, and `/metrics` and
#    `/version` tell of the server. Put a proxy before it that asks for the key everywhere; give
#    `--host 0.0.0.0` only where trusted hosts alone reach the port. `qwen3-rerank doctor --url URL` says what
#    is open.
# 5. Elsewhere: `Reranker(base_url="http://npu-host:8000", api_key=…)`.
#
# > **中文**：先装 CANN 与驱动，再装本包的 `[npu,cli]`；用 `doctor --model lexical` 一分钟验证环境；然后 `serve`，其他机器用 `base_url` 调用。
# > 密钥只保护 `/v1`（0.22 起还有 `/v2`）：`/rerank`、`/score`、`/classify`、`/pooling`、`/invocations`、`/tokenize` 会应答任何能连到端口的人，
# > 对外开放前请在前面放一个对所有路径都验证密钥的代理；`doctor --url URL` 会列出敞开的路径。
