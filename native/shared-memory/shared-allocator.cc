#include "shared-memory/shared-allocator.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <string>

#include "memory-count.h"

namespace trainyard {
namespace {

struct Region {
  uint64_t number;
  SharedFileAddress address;
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
  Region region;
  {
    const std::lock_guard<std::mutex> lock(regions().mutex);
    const auto found = regions().by_start.find(reinterpret_cast<uintptr_t>(data));
    region = found->second;
    regions().by_start.erase(found);
  }
  munmap(data, region.address.bytes);
  close(region.address.file);
  count_bytes(-static_cast<int64_t>(region.address.bytes));
}

class SharedAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    const c10::Device host(c10::DeviceType::CPU);
    if (bytes == 0) return {nullptr, nullptr, &release, host};
    const SharedFile created = create_shared_file("trainyard", bytes);
    {
      const std::lock_guard<std::mutex> lock(regions().mutex);
      regions().by_start[reinterpret_cast<uintptr_t>(created.data)] = {++regions().last_number, created.address};
    }
    count_bytes(static_cast<int64_t>(bytes));
    return {created.data, created.data, &release, host};
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

SharedFile create_shared_file(const char* name, size_t bytes) {
  const int file = memfd_create(name, MFD_CLOEXEC);
  TORCH_CHECK(file >= 0, "can't create shared memory: ", std::strerror(errno));
  void* data = MAP_FAILED;
  struct stat status{};
  if (ftruncate(file, static_cast<off_t>(bytes)) == 0 && fstat(file, &status) == 0) {
    data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  }
  if (data == MAP_FAILED) {
    const int reason = errno;
    close(file);
    TORCH_CHECK(false, "can't allocate shared memory: you tried to allocate ", bytes, " bytes: ", std::strerror(reason));
  }
  return {{file, static_cast<uint64_t>(status.st_ino), bytes}, data};
}

void* map_shared_file(int32_t process, const SharedFileAddress& address) {
  const std::string path = "/proc/" + std::to_string(process) + "/fd/" + std::to_string(address.file);
  const int opened = open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (opened < 0) return nullptr;
  struct stat status{};
  const bool is_it = fstat(opened, &status) == 0 && static_cast<uint64_t>(status.st_ino) == address.inode &&
                     static_cast<uint64_t>(status.st_size) == address.bytes;
  void* data = is_it ? mmap(nullptr, address.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, opened, 0) : MAP_FAILED;
  close(opened);
  return data == MAP_FAILED ? nullptr : data;
}

}  // namespace trainyard
