#pragma once
// Memory that direct I/O can take as it is: it begins at a page.

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

namespace trainyard {

constexpr size_t page_bytes = 4096;

// A tensor of zeros in such memory, on large pages where the system has them; counted as memory of tensors.
at::Tensor aligned_zeros(const std::vector<int64_t>& shape, c10::ScalarType dtype);

// Buffers of one size for what cannot be transferred where it is. There are as many as were ever lent at once, which
// the number of requests under way bounds.
class AlignedBuffers {
 public:
  explicit AlignedBuffers(size_t bytes) : bytes_(bytes) {}
  AlignedBuffers(const AlignedBuffers&) = delete;
  ~AlignedBuffers();

  char* take();
  void give(char* buffer);

 private:
  const size_t bytes_;
  std::mutex mutex_;
  std::vector<char*> idle_;
};

}  // namespace trainyard
