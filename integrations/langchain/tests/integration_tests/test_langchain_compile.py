def test_the_integration_tests_can_be_imported() -> None:
    from langchain_qwen3_ascend_rerank import Qwen3AscendRerank

    assert Qwen3AscendRerank.is_lc_serializable()
