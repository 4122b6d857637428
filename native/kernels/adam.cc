// trainyard::adam_: one Adam or AdamW update over flat memory in one pass (arXiv 1412.6980, 1711.05101; DeepSpeed:
// csrc/adam/cpu_adam.cpp). Every element is computed alike, so the result does not depend on the number of threads.
#include <ATen/ATen.h>
#include <torch/library.h>

#include <cmath>

#include "flat_update.h"

namespace trainyard {
namespace {

struct AdamStep {
  float gradient_scale;
  float beta1, one_minus_beta1;
  float beta2, one_minus_beta2;
  float eps;
  float step_size;           // lr / (1 - beta1^t)
  float inverse_correction;  // 1 / sqrt(1 - beta2^t)
  float kept;                // 1 - lr * weight_decay, AdamW's decay
  float l2;                  // weight_decay, Adam's decay
  Number gradients;
  Number copies;
};

TRAINYARD_CLONES void update_range(const Piece& piece, int64_t begin, int64_t end, const AdamStep& step) {
  float* parameters = piece.parameters;
  float* first = piece.states[0];
  float* second = piece.states[1];
  for (int64_t i = begin; i < end; i += lanes) {
    const int64_t count = end - i;
    prefetch_after(piece, i, step.gradients);
    Floats p = load_part(parameters + i, count);
    const Floats g = load_numbers(piece.gradients, step.gradients, i, count) * splat(step.gradient_scale) +
                     splat(step.l2) * p;
    const Floats m = load_part(first + i, count) * splat(step.beta1) + g * splat(step.one_minus_beta1);
    const Floats v = load_part(second + i, count) * splat(step.beta2) + g * g * splat(step.one_minus_beta2);
    const Floats denominator = square_root(v) * splat(step.inverse_correction) + splat(step.eps);
    p = p * splat(step.kept) - splat(step.step_size) * m / denominator;
    store_part(first + i, m, count);
    store_part(second + i, v, count);
    store_part(parameters + i, p, count);
    store_numbers(piece.copy, step.copies, i, p, count);
  }
}

void adam_(at::TensorList parameters, at::TensorList gradients, at::TensorList exp_avg, at::TensorList exp_avg_sq,
           at::TensorList copies, double lr, double beta1, double beta2, double eps, double weight_decay,
           bool adam_w_mode, int64_t step, double gradient_scale) {
  constexpr Checks checks("adam_");
  const FlatPieces pieces(checks, parameters, gradients, {{"exp_avg", exp_avg}, {"exp_avg_sq", exp_avg_sq}}, copies);
  checks.number(step > 0, "step", step, "counted from 1");
  const double correction1 = 1 - std::pow(beta1, static_cast<double>(step));
  const double correction2 = 1 - std::pow(beta2, static_cast<double>(step));
  if (!pieces.is_fused()) {
    for (size_t i = 0; i < parameters.size(); ++i) {
      at::Tensor g = scaled_gradients(gradients[i], parameters[i], gradient_scale);
      if (adam_w_mode) {
        parameters[i].mul_(1 - lr * weight_decay);
      } else {
        g = g.add_(parameters[i], weight_decay);
      }
      exp_avg[i].lerp_(g, 1 - beta1);
      exp_avg_sq[i].mul_(beta2).addcmul_(g, g, 1 - beta2);
      const at::Tensor denominator = exp_avg_sq[i].sqrt().div_(std::sqrt(correction2)).add_(eps);
      parameters[i].addcdiv_(exp_avg[i], denominator, -lr / correction1);
    }
    return copy_parameters(parameters, copies);
  }
  const AdamStep constants{
      static_cast<float>(gradient_scale),
      static_cast<float>(beta1),
      static_cast<float>(1 - beta1),
      static_cast<float>(beta2),
      static_cast<float>(1 - beta2),
      static_cast<float>(eps),
      static_cast<float>(lr / correction1),
      static_cast<float>(1 / std::sqrt(correction2)),
      static_cast<float>(adam_w_mode ? 1 - lr * weight_decay : 1),
      static_cast<float>(adam_w_mode ? 0 : weight_decay),
      pieces.gradients(),
      pieces.copies(),
  };
  pieces.each([&](const Piece& piece, int64_t begin, int64_t end) { update_range(piece, begin, end, constants); });
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(trainyard, library) {
  library.def(
      "adam_(Tensor(a!)[] parameters, Tensor[] gradients, Tensor(b!)[] exp_avg, Tensor(c!)[] exp_avg_sq, "
      "Tensor(d!)[] copies, float lr, float beta1, float beta2, float eps, float weight_decay, bool adam_w_mode, "
      "int step, float gradient_scale) -> ()",
      &adam_);
}

}  // namespace trainyard
