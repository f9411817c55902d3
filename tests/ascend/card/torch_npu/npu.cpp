// A torch device `npu` over host memory, in torch's slot for foreign devices (PrivateUse1).
//
// Memory is the host's, counted against a limit. Whatever moves or views memory is done here; every
// other operator goes to the CPU's kernel, which is lent the same bytes. What a card refuses is
// refused: memory beyond the limit, a device that is not there, tensors on two devices, float64 in
// matrix products. A copy that is not waited for is done at once, but watched where that is asked
// for: a card could still be at it when the host writes into what it copies.

#include <ATen/EmptyTensor.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <atomic>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <string>

namespace {

constexpr auto NPU = c10::DeviceType::PrivateUse1;
using Keys = c10::DispatchKeySet;
using Stack = torch::jit::Stack;

constexpr int device_count = 1;

// ---- memory -----------------------------------------------------------------------------------

std::atomic<int64_t> used{0}, peak{0}, limit{int64_t(4) << 30};

void charge(size_t bytes) {
  const int64_t now = used += bytes;
  if (now > limit) {
    used -= bytes;
    // torch_npu's words, by which callers recognise it.
    TORCH_CHECK_WITH(OutOfMemoryError, false, "NPU out of memory. Tried to allocate ", bytes,
                     " bytes (NPU 0; ", limit.load(), " bytes total capacity; ", used.load(),
                     " bytes already allocated)");
  }
  for (int64_t seen = peak; seen < now && !peak.compare_exchange_weak(seen, now);) {
  }
}

// Bytes of the host that count as the device's while they live.
struct Held {
  c10::DataPtr bytes;
  c10::Storage owner;
  size_t size;
};

c10::DataPtr hold(void* data, size_t size, c10::DataPtr bytes, c10::Storage owner) {
  charge(size);
  auto release = [](void* held) {
    used -= static_cast<Held*>(held)->size;
    delete static_cast<Held*>(held);
  };
  return {data, new Held{std::move(bytes), std::move(owner), size}, release, {NPU, 0}};
}

struct Memory final : c10::Allocator {
  c10::DataPtr allocate(size_t size) override {
    charge(size);
    used -= size;  // asked before the host is; `hold` counts it
    auto bytes = c10::GetCPUAllocator()->allocate(size);
    void* data = bytes.get();
    return hold(data, size, std::move(bytes), {});
  }
  void copy_data(void* to, const void* from, std::size_t size) const override {
    default_copy_data(to, from, size);
  }
};
Memory memory;
REGISTER_ALLOCATOR(NPU, &memory)

void check_device(const std::optional<c10::Device>& device) {
  TORCH_CHECK(!device || device->index() < device_count,
              "exchangeDevice: NPU function error: aclrtSetDevice, error code is 107001: Invalid "
              "device ID ", device ? int(device->index()) : 0);
}

at::Tensor empty_npu(at::IntArrayRef size, std::optional<at::ScalarType> dtype,
                 std::optional<at::Layout>, std::optional<at::Device> device, std::optional<bool>,
                 std::optional<at::MemoryFormat> format) {
  check_device(device);
  return at::detail::empty_generic(size, &memory, Keys(c10::DispatchKey::PrivateUse1),
                                   c10::dtype_or_default(dtype), format);
}

at::Tensor empty_strided_npu(at::IntArrayRef size, at::IntArrayRef stride,
                         std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                         std::optional<at::Device> device, std::optional<bool>) {
  check_device(device);
  return at::detail::empty_strided_generic(size, stride, &memory,
                                           Keys(c10::DispatchKey::PrivateUse1),
                                           c10::dtype_or_default(dtype));
}

void resize_storage(const c10::Storage& storage, size_t size) {
  auto fresh = memory.allocate(size);
  memory.copy_data(fresh.get(), storage.data(), std::min(size, storage.nbytes()));
  storage.unsafeGetStorageImpl()->set_data_ptr_noswap(std::move(fresh));
  storage.unsafeGetStorageImpl()->set_nbytes(size);
}

const at::Tensor& resize_npu(const at::Tensor& self, at::IntArrayRef size,
                         std::optional<at::MemoryFormat>) {
  const auto elements = c10::multiply_integers(size);
  const size_t needed = (self.storage_offset() + elements) * self.element_size();
  if (elements && needed > self.storage().nbytes()) resize_storage(self.storage(), needed);
  self.unsafeGetTensorImpl()->set_sizes_contiguous(size);
  return self;
}

at::Tensor& set_storage(at::Tensor& self, at::Storage source, int64_t offset, at::IntArrayRef size,
                        at::IntArrayRef stride) {
  auto* impl = self.unsafeGetTensorImpl();
  impl->set_storage_keep_dtype(std::move(source));
  impl->set_storage_offset(offset);
  if (stride.empty() && !size.empty()) impl->set_sizes_contiguous(size);
  else impl->set_sizes_and_strides(size, stride);
  return self;
}

at::Tensor& set_whole_storage(at::Tensor& self, at::Storage source) {
  const int64_t size = source.nbytes() / self.element_size();
  return set_storage(self, std::move(source), 0, {size}, {});
}

at::Tensor& set_tensor(at::Tensor& self, const at::Tensor& source) {
  return set_storage(self, source.storage(), source.storage_offset(), source.sizes(),
                     source.strides());
}

// ---- copies that nobody waits for ---------------------------------------------------------------

// Pinned memory of the host: the device copies it by itself, other memory before the call returns.
struct Pinned final : c10::Allocator {
  c10::DataPtr allocate(size_t size) override {
    auto bytes = c10::GetCPUAllocator()->allocate(size);
    void* data = bytes.get();
    {
      std::lock_guard<std::mutex> guard(mutex);
      ranges[data] = size;
    }
    auto release = [](void* held) {
      auto* bytes = static_cast<c10::DataPtr*>(held);
      {
        std::lock_guard<std::mutex> guard(mutex);
        ranges.erase(bytes->get());
      }
      delete bytes;
    };
    return {data, new c10::DataPtr(std::move(bytes)), release, c10::kCPU};
  }
  void copy_data(void* to, const void* from, std::size_t size) const override {
    default_copy_data(to, from, size);
  }
  static bool holds(const void* data) {
    std::lock_guard<std::mutex> guard(mutex);
    auto after = ranges.upper_bound(data);
    if (after == ranges.begin()) return false;
    const auto& [start, size] = *std::prev(after);
    return data < static_cast<const char*>(start) + size;
  }
  static inline std::mutex mutex;
  static inline std::map<const void*, size_t> ranges;
};
Pinned pinned;

struct Copy {
  c10::Storage source;  // kept, as the card's own allocator of pinned memory does
  const char* begin;
  std::string bytes;  // as they were
  int64_t number;
};
std::mutex copying;
std::deque<Copy> under_way;
int64_t copies = 0;
std::atomic<bool> watching{false};

void watch(const at::Tensor& source) {
  if (!watching || !source.is_non_overlapping_and_dense() || !Pinned::holds(source.data_ptr()))
    return;
  const auto* begin = static_cast<const char*>(source.data_ptr());
  std::lock_guard<std::mutex> guard(copying);
  under_way.push_back({source.storage(), begin, std::string(begin, source.nbytes()), ++copies});
}

int64_t last_copy() {
  std::lock_guard<std::mutex> guard(copying);
  return copies;
}

// Inside an operator of the device, which looks at its own numbers.
thread_local int inside = 0;

// The device is waited for, up to a copy.
void wait_for(int64_t number) {
  if (inside) return;
  std::lock_guard<std::mutex> guard(copying);
  while (!under_way.empty() && under_way.front().number <= number) {
    const auto one = std::move(under_way.front());
    under_way.pop_front();
    TORCH_CHECK(!std::memcmp(one.begin, one.bytes.data(), one.bytes.size()),
                "the host wrote into pinned memory (", one.bytes.size(), " bytes) of which a copy "
                "to the NPU was under way: a card may have copied what came later");
  }
}

void wait_for_all() { wait_for(last_copy()); }

// ---- every other operator: the CPU's kernel over the same bytes ---------------------------------

bool on_npu(const at::Tensor& tensor) { return tensor.defined() && tensor.device().type() == NPU; }

// A CPU tensor over the bytes of `tensor`.
at::Tensor lend(const at::Tensor& tensor) {
  auto* owner = new c10::Storage(tensor.storage());
  c10::DataPtr bytes(owner->mutable_data(), owner,
                     [](void* one) { delete static_cast<c10::Storage*>(one); }, c10::kCPU);
  c10::Storage storage(c10::Storage::use_byte_size_t(), owner->nbytes(), std::move(bytes), nullptr,
                       false);
  auto lent = at::detail::make_tensor<c10::TensorImpl>(
      std::move(storage), Keys(c10::DispatchKey::CPU), tensor.dtype());
  auto* impl = lent.unsafeGetTensorImpl();
  impl->set_storage_offset(tensor.storage_offset());
  impl->set_sizes_and_strides(tensor.sizes(), tensor.strides());
  if (tensor.unsafeGetTensorImpl()->is_wrapped_number()) impl->set_wrapped_number(true);
  return lent;
}

// An npu tensor that takes over the bytes of `tensor`, a new one of the CPU's.
at::Tensor take_over(const at::Tensor& tensor) {
  auto owner = tensor.storage();
  const size_t size = owner.nbytes();
  void* data = owner.mutable_data();
  c10::Storage storage(c10::Storage::use_byte_size_t(), size, hold(data, size, {}, owner), &memory,
                       true);
  auto taken = at::detail::make_tensor<c10::TensorImpl>(
      std::move(storage), Keys(c10::DispatchKey::PrivateUse1), tensor.dtype());
  taken.unsafeGetTensorImpl()->set_storage_offset(tensor.storage_offset());
  taken.unsafeGetTensorImpl()->set_sizes_and_strides(tensor.sizes(), tensor.strides());
  return taken;
}

struct Loan {
  at::Tensor own, lent;
  bool filled;  // an empty output, which the kernel gives memory of its own
};

class Loans {
 public:
  explicit Loans(const c10::FunctionSchema& schema) : name_(schema.name()) {}

  at::Tensor lent(const at::Tensor& tensor, bool written) {
    if (!on_npu(tensor)) {
      beside_ |= tensor.defined() && tensor.dim() > 0;
      return tensor;
    }
    check_precision(tensor);
    there_ = true;
    for (const auto& loan : loans_)
      if (loan.own.is_same(tensor)) return loan.lent;
    const bool fill = written && tensor.numel() == 0 && tensor.storage().nbytes() == 0;
    auto lent = fill ? at::Tensor(at::detail::empty_cpu(tensor.sizes(), tensor.scalar_type()))
                     : lend(tensor);
    loans_.push_back({tensor, lent, fill});
    return lent;
  }

  c10::IValue lent(const c10::IValue& value, bool written) {
    if (value.isTensor()) return lent(value.toTensor(), written);
    if (value.isTensorList()) {
      std::vector<at::Tensor> found;
      for (const auto& one : value.toTensorVector()) found.push_back(lent(one, written));
      return found;
    }
    if (value.isOptionalTensorList()) {
      c10::List<std::optional<at::Tensor>> found;
      for (const std::optional<at::Tensor>& one : value.toOptionalTensorList())
        found.push_back(one ? std::optional<at::Tensor>(lent(*one, written)) : std::nullopt);
      return found;
    }
    if (value.isDevice() && value.toDevice().type() == NPU) {
      check_device(value.toDevice());
      there_ = true;
      return c10::Device(c10::kCPU);
    }
    return value;
  }

  void check_one_device() const {
    static const std::set<std::string> mixes{"aten::index", "aten::index_put_", "aten::index_put",
                                             "aten::_index_put_impl_", "aten::set_"};
    TORCH_CHECK(!(there_ && beside_) || mixes.count(name_),
                "Expected all tensors to be on the same device, but found at least two devices, "
                "npu:0 and cpu! (", name_, ")");
  }

  void give_back() {
    for (auto& loan : loans_) {
      if (!loan.filled || !loan.lent.numel()) continue;
      resize_npu(loan.own, loan.lent.sizes(), std::nullopt);
      lend(loan.own).copy_(loan.lent);
    }
  }

  at::Tensor result(const at::Tensor& tensor) const {
    if (!there_ || !tensor.defined()) return tensor;
    for (const auto& loan : loans_) {
      if (loan.lent.is_same(tensor)) return loan.own;
      if (tensor.storage().nbytes() && loan.lent.storage().data() == tensor.storage().data())
        return at::native::as_strided_tensorimpl(loan.own, tensor.sizes(), tensor.strides(),
                                                 tensor.storage_offset());
    }
    return take_over(tensor);
  }

  c10::IValue result(const c10::IValue& value) const {
    if (value.isTensor()) return result(value.toTensor());
    if (value.isTensorList()) {
      std::vector<at::Tensor> found;
      for (const auto& one : value.toTensorVector()) found.push_back(result(one));
      return found;
    }
    return value;
  }

 private:
  void check_precision(const at::Tensor& tensor) const {
    static const std::set<std::string> products{"aten::mm", "aten::bmm", "aten::addmm", "aten::mv",
                                                "aten::addmv", "aten::baddbmm", "aten::dot"};
    TORCH_CHECK(tensor.scalar_type() != at::kDouble || !products.count(name_), name_,
                ": not implemented for DT_DOUBLE, should be in dtype support list [DT_FLOAT, "
                "DT_FLOAT16, DT_BFLOAT16] (shape ", tensor.sizes(), ")");
  }

  std::string name_;
  std::vector<Loan> loans_;
  bool there_ = false, beside_ = false;
};

void on_the_host(const c10::OperatorHandle& op, Stack* stack) {
  const auto& schema = op.schema();
  const auto count = schema.arguments().size();
  // Those whose answer the host looks at.
  static const std::set<std::string> looks{"aten::_local_scalar_dense", "aten::nonzero",
                                           "aten::masked_select", "aten::equal"};
  if (looks.count(schema.name())) wait_for_all();
  Loans loans(schema);
  for (size_t place = 0; place < count; ++place) {
    auto& value = torch::jit::peek(*stack, place, count);
    const auto* alias = schema.arguments()[place].alias_info();
    value = loans.lent(value, alias && alias->isWrite());
  }
  loans.check_one_device();
  op.redispatchBoxed(Keys(c10::DispatchKey::CPU), stack);
  loans.give_back();
  const auto results = schema.returns().size();
  for (size_t place = 0; place < results; ++place) {
    auto& value = torch::jit::peek(*stack, place, results);
    value = loans.result(value);
  }
}

at::Tensor copy_from(const at::Tensor& self, const at::Tensor& to, bool non_blocking) {
  if (!non_blocking && on_npu(self) != on_npu(to)) wait_for_all();
  if (non_blocking && !on_npu(self)) watch(self);
  auto target = on_npu(to) ? lend(to) : to;
  target.copy_(on_npu(self) ? lend(self) : self);
  return to;
}

at::Tensor copy_from_and_resize(const at::Tensor& self, const at::Tensor& to) {
  to.resize_(self.sizes());
  return copy_from(self, to, false);
}

int64_t plain_attention(const at::Tensor&, const at::Tensor&, const at::Tensor&,
                        const std::optional<at::Tensor>&, double, bool, std::optional<double>,
                        bool) {
  return 0;  // SDPBackend::math
}

void record_stream(at::Tensor&, at::Stream) {}

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&on_the_host>());
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", &empty_npu);
  m.impl("empty_strided", &empty_strided_npu);
  m.impl("resize_", &resize_npu);
  m.impl("set_.source_Storage", &set_whole_storage);
  m.impl("set_.source_Storage_storage_offset", &set_storage);
  m.impl("set_.source_Tensor", &set_tensor);
  m.impl("as_strided", &at::native::as_strided_tensorimpl);
  m.impl("view", &at::native::view);
  m.impl("_reshape_alias", &at::native::_reshape_alias);
  m.impl("unfold", &at::native::unfold);
  m.impl("_copy_from", &copy_from);
  m.impl("_copy_from_and_resize", &copy_from_and_resize);
  m.impl("_fused_sdp_choice", &plain_attention);
  m.impl("record_stream", &record_stream);
}

// ---- what torch asks of a device ----------------------------------------------------------------

struct Guard final : c10::impl::NoOpDeviceGuardImpl<NPU> {
  c10::DeviceIndex deviceCount() const noexcept override { return device_count; }
  void synchronizeDevice(const c10::DeviceIndex) const override { wait_for_all(); }
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard)

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return device_count; }
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
  c10::Allocator* getPinnedMemoryAllocator() const override { return &pinned; }
  bool isPinnedPtr(const void* data) const override { return Pinned::holds(data); }
  void resizePrivateUse1Bytes(const c10::Storage& storage, size_t size) const override {
    resize_storage(storage, size);
  }
};

struct Registered {
  Registered() { at::RegisterPrivateUse1HooksInterface(new Hooks); }
} registered;

}  // namespace

TORCH_LIBRARY(npu_stand_in, m) {
  m.def("used", [] { return used.load(); });
  m.def("peak", [] { return peak.load(); });
  m.def("reset_peak", [] { peak = used.load(); });
  m.def("limit", [] { return limit.load(); });
  m.def("set_limit", [](int64_t bytes) { limit = bytes; });
  m.def("set_watching", [](bool asked) { watching = asked; });
  m.def("last_copy", &last_copy);
  m.def("wait_for", &wait_for);
  m.def("wait_for_all", &wait_for_all);
  m.def("enter", [] { ++inside; });
  m.def("leave", [] { --inside; });
}
