#include "checks.h"

#include <ATen/ATen.h>

namespace trainyard {

void Checks::memory(const char* argument, const at::Tensor& tensor) const {
  if (!tensor.defined()) return;
  TORCH_CHECK(tensor.layout() == at::kStrided, operator_, ": ", argument, " must be dense, got ", tensor.layout());
  if (!tensor.is_cpu() || tensor.numel() == 0) return;
  TORCH_CHECK(tensor.storage().data() != nullptr, operator_, ": ", argument,
              " must have memory, got a tensor whose memory was released");
}

void Checks::device(const char* argument, const at::Tensor& tensor, const at::Tensor& other) const {
  TORCH_CHECK(tensor.device() == other.device(), operator_, ": ", argument, " must be on ", other.device(), ", got ",
              tensor.device());
}

void Checks::floating(const char* argument, const at::Tensor& tensor) const {
  TORCH_CHECK(at::isFloatingType(tensor.scalar_type()), operator_, ": ", argument, " must be floating-point, got ",
              tensor.scalar_type());
}

void Checks::numbers(const char* argument, const at::Tensor& tensor) const {
  floating(argument, tensor);
  memory(argument, tensor);
}

void Checks::alike(const char* argument, const at::Tensor& tensor, const at::Tensor& other) const {
  TORCH_CHECK(tensor.scalar_type() == other.scalar_type(), operator_, ": ", argument, " must be ",
              other.scalar_type(), " as the other arguments, got ", tensor.scalar_type());
  device(argument, tensor, other);
  memory(argument, tensor);
}

void Checks::integers(const char* argument, const at::Tensor& tensor, const at::Tensor& other) const {
  const at::ScalarType dtype = tensor.scalar_type();
  TORCH_CHECK(dtype == at::kLong || dtype == at::kInt, operator_, ": ", argument, " must be Long or Int, got ", dtype);
  device(argument, tensor, other);
  memory(argument, tensor);
}

void Checks::sizes(const char* argument, const at::Tensor& tensor, at::IntArrayRef expected) const {
  TORCH_CHECK(tensor.sizes() == expected, operator_, ": ", argument, " must be ", expected, ", got ", tensor.sizes());
}

void Checks::rows(const char* argument, const at::Tensor& tensor, at::IntArrayRef like, int64_t features) const {
  const at::IntArrayRef sizes = tensor.sizes();
  const bool fits = !sizes.empty() && sizes.size() == like.size() && sizes.back() == features &&
                    sizes.slice(0, sizes.size() - 1) == like.slice(0, like.size() - 1);
  if (fits) return;
  std::vector<int64_t> expected = like.vec();
  if (!expected.empty()) expected.back() = features;
  TORCH_CHECK(false, operator_, ": ", argument, " must be ", at::IntArrayRef(expected), ", got ", sizes);
}

void Checks::features(const char* argument, const at::Tensor& tensor, int64_t expected) const {
  TORCH_CHECK(tensor.dim() > 0 && tensor.size(-1) == expected, operator_, ": ", argument, " must be [..., ", expected,
              "], got ", tensor.sizes());
}

void Checks::gradient(const char* argument, const std::optional<at::Tensor>& tensor, const at::Tensor& weight) const {
  if (!tensor.has_value() || !tensor->defined()) return;
  floating(argument, *tensor);
  device(argument, *tensor, weight);
  sizes(argument, *tensor, weight.sizes());
}

void Checks::range(const char* argument, const at::Tensor& tensor, int64_t limit,
                   std::optional<int64_t> exception) const {
  if (!tensor.is_cpu()) return;
  const at::Tensor flat = tensor.to(at::kLong).contiguous();
  const int64_t* value = flat.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < flat.numel(); ++i) {
    if ((value[i] >= 0 && value[i] < limit) || value[i] == exception) continue;
    TORCH_CHECK_INDEX(false, operator_, ": ", argument, " must be in [0, ", limit, "), got ", value[i], " at ", i);
  }
}

void Checks::shape(bool fits, const char* argument, const at::Tensor& tensor, const char* expected) const {
  TORCH_CHECK(fits, operator_, ": ", argument, " must be ", expected, ", got ", tensor.sizes());
}

void Checks::number(bool fits, const char* argument, int64_t value, const char* expected) const {
  TORCH_CHECK(fits, operator_, ": ", argument, " must be ", expected, ", got ", value);
}

}  // namespace trainyard
