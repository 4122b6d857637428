#include "flat_update.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

namespace trainyard {
namespace {

// Vectors that are worth a thread.
constexpr int64_t grain = 4096;

Number number_of(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return Number::float32;
    case at::kBFloat16:
      return Number::bfloat16;
    case at::kHalf:
      return Number::float16;
    default:
      return Number::none;
  }
}

void check_like(const Checks& checks, const char* name, const at::Tensor& tensor, const at::Tensor& parameters) {
  checks.numbers(name, tensor);
  checks.shape(tensor.is_contiguous(), name, tensor, "contiguous");
  checks.shape(tensor.numel() == parameters.numel(), name, tensor, "as many elements as the parameters");
  checks.shape(tensor.device() == parameters.device(), name, tensor, "on the device of the parameters");
}

void check_count(const Checks& checks, const char* name, at::TensorList tensors, at::TensorList parameters) {
  checks.number(tensors.size() == parameters.size(), name, static_cast<int64_t>(tensors.size()),
                "as many tensors as there are parameters");
}

bool is_host_float(const at::Tensor& tensor) { return tensor.is_cpu() && tensor.scalar_type() == at::kFloat; }

// The kind of all tensors of a list; none, where they differ or have another.
Number common_number(at::TensorList tensors) {
  const Number first = number_of(tensors.front());
  const bool is_one = std::all_of(tensors.begin(), tensors.end(),
                                  [first](const at::Tensor& tensor) { return number_of(tensor) == first; });
  return is_one ? first : Number::none;
}

}  // namespace

FlatPieces::FlatPieces(const Checks& checks, at::TensorList parameters, at::TensorList gradients,
                       std::initializer_list<std::pair<const char*, at::TensorList>> states, at::TensorList copies) {
  if (parameters.empty()) return;
  check_count(checks, "gradients", gradients, parameters);
  for (const auto& [name, tensors] : states) check_count(checks, name, tensors, parameters);
  if (!copies.empty()) check_count(checks, "copies", copies, parameters);
  gradients_ = common_number(gradients);
  copies_ = copies.empty() ? Number::none : common_number(copies);
  fused_ = gradients_ != Number::none && (copies.empty() || copies_ != Number::none);
  starts_.push_back(0);
  for (size_t i = 0; i < parameters.size(); ++i) {
    const at::Tensor& own = parameters[i];
    check_like(checks, "parameters", own, own);
    check_like(checks, "gradients", gradients[i], own);
    fused_ = fused_ && is_host_float(own);
    Piece piece{own.numel(), nullptr, nullptr, {nullptr, nullptr}, nullptr};
    size_t state = 0;
    for (const auto& [name, tensors] : states) {
      check_like(checks, name, tensors[i], own);
      fused_ = fused_ && is_host_float(tensors[i]);
      if (fused_) piece.states[state++] = tensors[i].mutable_data_ptr<float>();
    }
    if (!copies.empty()) check_like(checks, "copies", copies[i], own);
    if (!fused_) continue;
    piece.parameters = own.mutable_data_ptr<float>();
    piece.gradients = gradients[i].const_data_ptr();
    if (!copies.empty()) piece.copy = copies[i].mutable_data_ptr();
    pieces_.push_back(piece);
    starts_.push_back(starts_.back() + (piece.elements + lanes - 1) / lanes);
  }
}

void FlatPieces::each(const std::function<void(const Piece&, int64_t, int64_t)>& body) const {
  if (pieces_.empty()) return;
  at::parallel_for(0, starts_.back(), grain, [&](int64_t begin, int64_t end) {
    // The last piece that begins at or before the range: pieces may be empty.
    auto after = std::upper_bound(starts_.begin(), starts_.end(), begin);
    for (size_t i = static_cast<size_t>(after - starts_.begin()) - 1; i < pieces_.size() && starts_[i] < end; ++i) {
      const int64_t first = std::max(begin, starts_[i]) - starts_[i];
      const int64_t last = std::min(end, starts_[i + 1]) - starts_[i];
      if (first < last) body(pieces_[i], first * lanes, std::min(last * lanes, pieces_[i].elements));
    }
  });
}

void copy_parameters(at::TensorList parameters, at::TensorList copies) {
  for (size_t i = 0; i < copies.size(); ++i) copies[i].copy_(parameters[i]);
}

at::Tensor scaled_gradients(const at::Tensor& gradients, const at::Tensor& parameters, double scale) {
  return gradients.to(parameters.scalar_type()) * scale;
}

}  // namespace trainyard
