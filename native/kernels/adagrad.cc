// trainyard::adagrad_: steps that shrink with the sum of all squared gradients (Duchi et al., JMLR 12, 2011; torch's
// formulas; DeepSpeed: csrc/adagrad/cpu_adagrad.cpp).
#include <ATen/ATen.h>
#include <torch/library.h>

#include "flat_update.h"

namespace trainyard {
namespace {

struct AdagradFactors {
  float lr;
  float eps;
  float decay;
  float gradient_scale;
  Number gradients;
  Number copies;
};

TRAINYARD_CLONES void update(const Piece& piece, int64_t begin, int64_t end, const AdagradFactors& f) {
  float* sum = piece.states[0];
  for (int64_t i = begin; i < end; i += lanes) {
    const int64_t count = end - i;
    prefetch_after(piece, i, f.gradients);
    Floats p = load_part(piece.parameters + i, count);
    const Floats g = load_numbers(piece.gradients, f.gradients, i, count) * splat(f.gradient_scale) + p * f.decay;
    const Floats total = load_part(sum + i, count) + g * g;
    p = p - splat(f.lr) * g / (square_root(total) + splat(f.eps));
    store_part(sum + i, total, count);
    store_part(piece.parameters + i, p, count);
    store_numbers(piece.copy, f.copies, i, p, count);
  }
}

void adagrad_(at::TensorList parameters, at::TensorList gradients, at::TensorList sum, at::TensorList copies, double lr,
              double lr_decay, double eps, double weight_decay, int64_t step, double gradient_scale) {
  constexpr Checks checks("adagrad_");
  const FlatPieces pieces(checks, parameters, gradients, {{"sum", sum}}, copies);
  checks.number(step > 0, "step", step, "counted from 1");
  const double rate = lr / (1 + static_cast<double>(step - 1) * lr_decay);
  if (!pieces.is_fused()) {
    for (size_t i = 0; i < parameters.size(); ++i) {
      const at::Tensor g =
          scaled_gradients(gradients[i], parameters[i], gradient_scale).add_(parameters[i], weight_decay);
      sum[i].addcmul_(g, g);
      parameters[i].addcdiv_(g, sum[i].sqrt().add_(eps), -rate);
    }
    return copy_parameters(parameters, copies);
  }
  const AdagradFactors factors{static_cast<float>(rate),           static_cast<float>(eps), static_cast<float>(weight_decay),
                               static_cast<float>(gradient_scale), pieces.gradients(),      pieces.copies()};
  pieces.each([&](const Piece& piece, int64_t begin, int64_t end) { update(piece, begin, end, factors); });
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(trainyard, library) {
  library.def(
      "adagrad_(Tensor(a!)[] parameters, Tensor[] gradients, Tensor(b!)[] sum, Tensor(c!)[] copies, float lr, "
      "float lr_decay, float eps, float weight_decay, int step, float gradient_scale) -> ()",
      &adagrad_);
}

}  // namespace trainyard
