#include "memory-count.h"

#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>

#include <atomic>

#include "args.h"

namespace trainyard {
namespace {

std::atomic<int64_t> allocated{0};
std::atomic<int64_t> most{0};

// Every block is preceded by its size. As long as libtorch's alignment, so that tensors keep theirs.
constexpr size_t header = 64;

void count(int64_t bytes) {
  const int64_t now = allocated.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  int64_t before = most.load(std::memory_order_relaxed);
  while (before < now && !most.compare_exchange_weak(before, now, std::memory_order_relaxed)) {
  }
}

void release(void* data) {
  if (data == nullptr) return;
  void* block = static_cast<char*>(data) - header;
  allocated.fetch_sub(*static_cast<int64_t*>(block), std::memory_order_relaxed);
  c10::free_cpu(block);
}

// libtorch's own allocator (memory of alloc_cpu) with a count. Like that one it can free by address alone, which
// oneDNN asks of it.
class CountingAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    if (bytes == 0) return {nullptr, nullptr, &release, c10::Device(c10::DeviceType::CPU)};
    char* block = static_cast<char*>(c10::alloc_cpu(bytes + header));
    *reinterpret_cast<int64_t*>(block) = static_cast<int64_t>(bytes);
    count(static_cast<int64_t>(bytes));
    void* data = block + header;
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

void export_memory_count(napi_env env, napi_value exports) {
  export_function(env, exports, "allocatedBytes", allocated_bytes);
  export_function(env, exports, "peakAllocatedBytes", peak_allocated_bytes);
  export_function(env, exports, "resetPeakAllocatedBytes", reset_peak_allocated_bytes);
}

}  // namespace trainyard
