#include "file-io/aligned-memory.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <sys/mman.h>

#include <cstdlib>
#include <new>

#include "large-pages.h"
#include "memory-count.h"

namespace trainyard {
namespace {

struct Mapping {
  void* data;
  size_t bytes;
};

size_t rounded_up(size_t bytes, size_t step) { return (bytes + step - 1) / step * step; }

void release(void* context) {
  const Mapping* mapping = static_cast<Mapping*>(context);
  munmap(mapping->data, mapping->bytes);
  count_bytes(-static_cast<int64_t>(mapping->bytes));
  delete mapping;
}

}  // namespace

at::Tensor aligned_zeros(const std::vector<int64_t>& shape, c10::ScalarType dtype) {
  size_t bytes = c10::elementSize(dtype);
  for (const int64_t size : shape) bytes *= static_cast<size_t>(size);
  const c10::NoGradGuard no_grad;
  if (bytes == 0) return at::empty(shape, dtype);
  bytes = rounded_up(bytes, page_bytes);
  char* data = map_large_pages(bytes);
  count_bytes(static_cast<int64_t>(bytes));
  const c10::Device host(c10::DeviceType::CPU);
  c10::DataPtr pointer(data, new Mapping{data, bytes}, &release, host);
  const auto storage = c10::make_intrusive<c10::StorageImpl>(c10::StorageImpl::use_byte_size_t(), bytes,
                                                             std::move(pointer), nullptr, false);
  return at::empty({0}, dtype).set_(c10::Storage(storage), 0, shape);
}

AlignedBuffers::~AlignedBuffers() {
  for (char* buffer : idle_) std::free(buffer);
}

char* AlignedBuffers::take() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!idle_.empty()) {
      char* buffer = idle_.back();
      idle_.pop_back();
      return buffer;
    }
  }
  void* buffer = nullptr;
  if (posix_memalign(&buffer, page_bytes, bytes_) != 0) throw std::bad_alloc();
  return static_cast<char*>(buffer);
}

void AlignedBuffers::give(char* buffer) {
  const std::lock_guard<std::mutex> lock(mutex_);
  idle_.push_back(buffer);
}

}  // namespace trainyard
