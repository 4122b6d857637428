// trainyard::sgd_: torch.optim.SGD with momentum, dampening, Nesterov's momentum and decay in the gradient.
#include <ATen/ATen.h>
#include <torch/library.h>

#include "flat_update.h"

namespace trainyard {
namespace {

struct SgdFactors {
  float lr;
  float momentum;
  float keep;  // 1 - dampening; 1 at the first step, whose buffer is the gradient itself
  float decay;
  float gradient_scale;
  bool nesterov;
  Number gradients;
  Number copies;
};

// Without momentum there is no state.
TRAINYARD_CLONES void update(const Piece& piece, int64_t begin, int64_t end, const SgdFactors& f) {
  float* buffer = piece.states[0];
  for (int64_t i = begin; i < end; i += lanes) {
    const int64_t count = end - i;
    prefetch_after(piece, i, f.gradients);
    Floats p = load_part(piece.parameters + i, count);
    Floats g = load_numbers(piece.gradients, f.gradients, i, count) * f.gradient_scale + p * f.decay;
    if (buffer != nullptr) {
      const Floats velocity = load_part(buffer + i, count) * f.momentum + g * f.keep;
      store_part(buffer + i, velocity, count);
      g = f.nesterov ? g + velocity * f.momentum : velocity;
    }
    p = p - g * f.lr;
    store_part(piece.parameters + i, p, count);
    store_numbers(piece.copy, f.copies, i, p, count);
  }
}

// `momentum_buffer` is empty without momentum.
void sgd_(at::TensorList parameters, at::TensorList gradients, at::TensorList momentum_buffer, at::TensorList copies,
          double lr, double momentum, double dampening, double weight_decay, bool nesterov, int64_t step,
          double gradient_scale) {
  constexpr Checks checks("sgd_");
  const bool has_momentum = !momentum_buffer.empty();
  const FlatPieces pieces = has_momentum
                                ? FlatPieces(checks, parameters, gradients, {{"momentum_buffer", momentum_buffer}}, copies)
                                : FlatPieces(checks, parameters, gradients, {}, copies);
  // torch.optim.SGD starts the buffer as the first gradient, undamped.
  const double keep = step <= 1 ? 1 : 1 - dampening;
  if (step <= 1) {
    for (const at::Tensor& velocity : momentum_buffer) velocity.zero_();
  }
  if (!pieces.is_fused()) {
    for (size_t i = 0; i < parameters.size(); ++i) {
      at::Tensor g = scaled_gradients(gradients[i], parameters[i], gradient_scale).add_(parameters[i], weight_decay);
      if (has_momentum) {
        const at::Tensor& velocity = momentum_buffer[i];
        velocity.mul_(momentum).add_(g, keep);
        g = nesterov ? g.add_(velocity, momentum) : velocity;
      }
      parameters[i].add_(g, -lr);
    }
    return copy_parameters(parameters, copies);
  }
  const SgdFactors factors{static_cast<float>(lr),
                           static_cast<float>(momentum),
                           static_cast<float>(keep),
                           static_cast<float>(weight_decay),
                           static_cast<float>(gradient_scale),
                           nesterov,
                           pieces.gradients(),
                           pieces.copies()};
  pieces.each([&](const Piece& piece, int64_t begin, int64_t end) { update(piece, begin, end, factors); });
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(trainyard, library) {
  library.def(
      "sgd_(Tensor(a!)[] parameters, Tensor[] gradients, Tensor(b!)[] momentum_buffer, Tensor(c!)[] copies, float lr, "
      "float momentum, float dampening, float weight_decay, bool nesterov, int step, float gradient_scale) -> ()",
      &sgd_);
}

}  // namespace trainyard
