// What the fused operators ask of their arguments before they touch memory: a wrong shape out of somebody's own block
// is one line that says so, and never a read beyond the heap. Each costs a few comparisons of integers.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace trainyard {

// Refuses arguments in the form "operator: argument must be what was expected, got what was given".
class Checks {
 public:
  constexpr explicit Checks(const char* name) : operator_(name) {}

  // Floating-point numbers in dense memory that is there: memory can be released (see released_memory.cc).
  void numbers(const char* argument, const at::Tensor& tensor) const;

  // Such numbers of the dtype and on the device of another argument.
  void alike(const char* argument, const at::Tensor& tensor, const at::Tensor& other) const;

  // Integers in dense memory on the device of another argument.
  void integers(const char* argument, const at::Tensor& tensor, const at::Tensor& other) const;

  void sizes(const char* argument, const at::Tensor& tensor, at::IntArrayRef expected) const;

  // The sizes of another argument, but for the last, which is `features`.
  void rows(const char* argument, const at::Tensor& tensor, at::IntArrayRef like, int64_t features) const;

  // Any rows of this many features.
  void features(const char* argument, const at::Tensor& tensor, int64_t expected) const;

  // Where a weight's gradient accumulates: of its sizes and on its device, in a dtype of its own. Its memory may come
  // only before backward, which asks for it.
  void gradient(const char* argument, const std::optional<at::Tensor>& tensor, const at::Tensor& weight) const;

  // Dense memory that is there; an undefined tensor needs none.
  void memory(const char* argument, const at::Tensor& tensor) const;

  // Integers in [0, limit), or `exception`. On other devices than the CPU they are not looked at: that would wait.
  void range(const char* argument, const at::Tensor& tensor, int64_t limit,
             std::optional<int64_t> exception = std::nullopt) const;

  // Anything else about an argument's shape; `expected` says it in words.
  void shape(bool fits, const char* argument, const at::Tensor& tensor, const char* expected) const;

  // Anything else about an argument that is a number.
  void number(bool fits, const char* argument, int64_t value, const char* expected) const;

 private:
  void floating(const char* argument, const at::Tensor& tensor) const;
  void device(const char* argument, const at::Tensor& tensor, const at::Tensor& other) const;

  const char* operator_;
};

}  // namespace trainyard
