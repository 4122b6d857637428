// trainyard::lion_: the sign of an interpolated momentum, with decoupled decay (arXiv 2302.06675).
#include <ATen/ATen.h>
#include <torch/library.h>

#include "flat_update.h"

namespace trainyard {
namespace {

struct LionFactors {
  float shrink;
  float lr;
  float beta1;
  float beta2;
  float gradient_scale;
  Number gradients;
  Number copies;
};

TRAINYARD_CLONES void update(const Piece& piece, int64_t begin, int64_t end, const LionFactors& f) {
  float* momentum = piece.states[0];
  const Floats zero{};
  for (int64_t i = begin; i < end; i += lanes) {
    const int64_t count = end - i;
    prefetch_after(piece, i, f.gradients);
    const Floats g = load_numbers(piece.gradients, f.gradients, i, count) * f.gradient_scale;
    const Floats m = load_part(momentum + i, count);
    const Floats direction = m * f.beta1 + g * (1.0F - f.beta1);
    const Floats step = choose(direction > zero, splat(f.lr), choose(direction < zero, splat(-f.lr), zero));
    const Floats p = load_part(piece.parameters + i, count) * f.shrink - step;
    store_part(piece.parameters + i, p, count);
    store_part(momentum + i, m * f.beta2 + g * (1.0F - f.beta2), count);
    store_numbers(piece.copy, f.copies, i, p, count);
  }
}

void lion_(at::TensorList parameters, at::TensorList gradients, at::TensorList exp_avg, at::TensorList copies, double lr,
           double beta1, double beta2, double weight_decay, double gradient_scale) {
  const FlatPieces pieces(Checks("lion_"), parameters, gradients, {{"exp_avg", exp_avg}}, copies);
  if (!pieces.is_fused()) {
    for (size_t i = 0; i < parameters.size(); ++i) {
      const at::Tensor g = scaled_gradients(gradients[i], parameters[i], gradient_scale);
      parameters[i].mul_(1 - lr * weight_decay);
      parameters[i].add_((exp_avg[i] * beta1).add_(g, 1 - beta1).sign_(), -lr);
      exp_avg[i].mul_(beta2).add_(g, 1 - beta2);
    }
    return copy_parameters(parameters, copies);
  }
  const LionFactors factors{static_cast<float>(1 - lr * weight_decay),
                            static_cast<float>(lr),
                            static_cast<float>(beta1),
                            static_cast<float>(beta2),
                            static_cast<float>(gradient_scale),
                            pieces.gradients(),
                            pieces.copies()};
  pieces.each([&](const Piece& piece, int64_t begin, int64_t end) { update(piece, begin, end, factors); });
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(trainyard, library) {
  library.def(
      "lion_(Tensor(a!)[] parameters, Tensor[] gradients, Tensor(b!)[] exp_avg, Tensor(c!)[] copies, float lr, "
      "float beta1, float beta2, float weight_decay, float gradient_scale) -> ()",
      &lion_);
}

}  // namespace trainyard
