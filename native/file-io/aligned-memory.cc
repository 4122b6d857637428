#include "file-io/aligned-memory.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>
#include <sys/mman.h>

#include <cstdlib>
#include <new>

#include "memory-count.h"

namespace trainyard {
namespace {

constexpr size_t large_page_bytes = size_t{2} << 20;

// What lies before and after the memory has been given back already.
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

// Maps a large page more than asked, and gives back what lies outside of whole large pages.
char* map_at_large_page(size_t bytes) {
  const size_t all = bytes + large_page_bytes;
  void* start = mmap(nullptr, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  TORCH_CHECK(start != MAP_FAILED, "can't allocate memory: you tried to allocate ", bytes, " bytes.");
  const auto first = reinterpret_cast<uintptr_t>(start);
  const uintptr_t data = rounded_up(first, large_page_bytes);
  if (data > first) munmap(start, data - first);
  munmap(reinterpret_cast<void*>(data + bytes), first + all - (data + bytes));
  return reinterpret_cast<char*>(data);
}

}  // namespace

at::Tensor aligned_zeros(const std::vector<int64_t>& shape, c10::ScalarType dtype) {
  size_t bytes = c10::elementSize(dtype);
  for (const int64_t size : shape) bytes *= static_cast<size_t>(size);
  const c10::NoGradGuard no_grad;
  if (bytes == 0) return at::empty(shape, dtype);
  bytes = rounded_up(bytes, page_bytes);
  char* data = map_at_large_page(bytes);
#ifdef MADV_HUGEPAGE
  // A small page at a time is what memory is given in otherwise, and looking up where it lies costs bandwidth.
  madvise(data, bytes, MADV_HUGEPAGE);
#endif
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
