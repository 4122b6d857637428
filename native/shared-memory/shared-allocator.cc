#include "shared-memory/shared-allocator.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>
#include <sys/mman.h>

#include <map>
#include <mutex>
#include <system_error>

#include "memory-count.h"

namespace trainyard {
namespace {

struct Region {
  uint64_t number;
  FileAddress address;
  OpenFile file;
};

// Never destroyed: tensors may outlive everything else of the process.
struct Regions {
  std::mutex mutex;
  std::map<uintptr_t, Region> by_start;
  uint64_t last_number = 0;
};

Regions& regions() {
  static auto* const known = new Regions;
  return *known;
}

void release(void* data) {
  if (data == nullptr) return;
  uint64_t bytes;
  {
    const std::lock_guard<std::mutex> lock(regions().mutex);
    const auto found = regions().by_start.find(reinterpret_cast<uintptr_t>(data));
    bytes = found->second.address.bytes;
    regions().by_start.erase(found);
  }
  munmap(data, bytes);
  count_bytes(-static_cast<int64_t>(bytes));
}

void* take(size_t bytes) {
  OpenFile file = create_anonymous_file("trainyard", bytes);
  const FileAddress address = address_of(file);
  void* data = map_shared(file, bytes, Access::write);
  const std::lock_guard<std::mutex> lock(regions().mutex);
  const uint64_t number = ++regions().last_number;
  regions().by_start.emplace(reinterpret_cast<uintptr_t>(data), Region{number, address, std::move(file)});
  return data;
}

class SharedAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    const c10::Device host(c10::DeviceType::CPU);
    if (bytes == 0) return {nullptr, nullptr, &release, host};
    void* data = nullptr;
    try {
      data = take(bytes);
    } catch (const std::system_error& error) {
      TORCH_CHECK(false, "can't allocate shared memory: you tried to allocate ", bytes, " bytes: ", error.code().message());
    }
    count_bytes(static_cast<int64_t>(bytes));
    return {data, data, &release, host};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &release; }

  void copy_data(void* target, const void* source, size_t bytes) const override {
    default_copy_data(target, source, bytes);
  }
};

}  // namespace

at::Tensor shared_empty(const std::vector<int64_t>& shape, c10::ScalarType dtype) {
  static auto* const allocator = new SharedAllocator;
  size_t bytes = c10::elementSize(dtype);
  for (const int64_t size : shape) bytes *= static_cast<size_t>(size);
  const auto storage = c10::make_intrusive<c10::StorageImpl>(c10::StorageImpl::use_byte_size_t(), bytes, allocator, false);
  const c10::NoGradGuard no_grad;
  return at::empty({0}, dtype).set_(c10::Storage(storage), 0, shape);
}

std::optional<SharedPlace> shared_place_of(const void* data) {
  const auto address = reinterpret_cast<uintptr_t>(data);
  const std::lock_guard<std::mutex> lock(regions().mutex);
  auto after = regions().by_start.upper_bound(address);
  if (after == regions().by_start.begin()) return std::nullopt;
  const auto& [start, region] = *--after;
  if (address >= start + region.address.bytes) return std::nullopt;
  return SharedPlace{region.number, region.address, address - start};
}

}  // namespace trainyard
