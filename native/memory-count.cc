#include "memory-count.h"

#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>

#include <atomic>
#include <cstdlib>

#include "args.h"

namespace trainyard {
namespace {

std::atomic<int64_t> allocated{0};
std::atomic<int64_t> most{0};

constexpr uintptr_t alignment = 64;

// What stands right before a tensor's memory.
struct Header {
  int64_t bytes;
  void* block;
};

Header& header_of(void* data) { return static_cast<Header*>(data)[-1]; }

void count(int64_t bytes) {
  const int64_t now = allocated.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  int64_t before = most.load(std::memory_order_relaxed);
  while (before < now && !most.compare_exchange_weak(before, now, std::memory_order_relaxed)) {
  }
}

void release(void* data) {
  if (data == nullptr) return;
  const Header header = header_of(data);
  allocated.fetch_sub(header.bytes, std::memory_order_relaxed);
  std::free(header.block);
}

// Host memory with a count. It aligns by itself, for glibc's aligned allocation asks for more than it was asked
// and does not fit into the hole that a tensor of the same size has left: over some steps that doubles the
// process. Like libtorch's own allocator it can free by address alone, which oneDNN asks of it.
class CountingAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    if (bytes == 0) return {nullptr, nullptr, &release, c10::Device(c10::DeviceType::CPU)};
    void* block = std::malloc(bytes + sizeof(Header) + alignment - 1);
    TORCH_CHECK(block != nullptr, "DefaultCPUAllocator: can't allocate memory: you tried to allocate ", bytes, " bytes.");
    const uintptr_t first = reinterpret_cast<uintptr_t>(block) + sizeof(Header);
    void* data = reinterpret_cast<void*>((first + alignment - 1) / alignment * alignment);
    header_of(data) = {static_cast<int64_t>(bytes), block};
    count(static_cast<int64_t>(bytes));
    return {data, data, &release, c10::Device(c10::DeviceType::CPU)};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &release; }

  void copy_data(void* target, const void* source, size_t bytes) const override {
    default_copy_data(target, source, bytes);
  }
};

napi_value allocated_bytes(napi_env env, napi_callback_info) {
  return number_value(env, static_cast<double>(allocated.load(std::memory_order_relaxed)));
}

napi_value peak_allocated_bytes(napi_env env, napi_callback_info) {
  return number_value(env, static_cast<double>(most.load(std::memory_order_relaxed)));
}

napi_value reset_peak_allocated_bytes(napi_env env, napi_callback_info) {
  most.store(allocated.load(std::memory_order_relaxed), std::memory_order_relaxed);
  return undefined_value(env);
}

}  // namespace

void count_memory() {
  // Never destroyed: tensors may outlive everything else of the process.
  static CountingAllocator* const counting = new CountingAllocator;
  c10::SetCPUAllocator(counting, UINT8_MAX);
}

void count_bytes(int64_t bytes) { count(bytes); }

void export_memory_count(napi_env env, napi_value exports) {
  export_function(env, exports, "allocatedBytes", allocated_bytes);
  export_function(env, exports, "peakAllocatedBytes", peak_allocated_bytes);
  export_function(env, exports, "resetPeakAllocatedBytes", reset_peak_allocated_bytes);
}

}  // namespace trainyard
