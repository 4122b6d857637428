// trainyard::sgd_: torch.optim.SGD with momentum, dampening, Nesterov's momentum and decay in the gradient.
#include <ATen/ATen.h>

#include "optimizer.h"
#include "simd.h"

namespace trainyard {
namespace {

struct SgdFactors {
  float lr;
  float momentum;
  float keep;  // 1 - dampening; 1 at the first step, whose buffer is the gradient itself
  float decay;
  float grad_scale;
  bool nesterov;
};

// `buffer` is null without momentum.
TRAINYARD_CLONES void update(int64_t begin, int64_t end, const SgdFactors& f, float* parameter, const float* gradient,
                             float* buffer) {
  for (int64_t i = begin; i < end; i += lanes) {
    const int64_t count = end - i;
    const Floats p = load_part(parameter + i, count);
    Floats g = load_part(gradient + i, count) * f.grad_scale + p * f.decay;
    if (buffer != nullptr) {
      const Floats velocity = load_part(buffer + i, count) * f.momentum + g * f.keep;
      store_part(buffer + i, velocity, count);
      g = f.nesterov ? g + velocity * f.momentum : velocity;
    }
    store_part(parameter + i, p - g * f.lr, count);
  }
}

void sgd_(at::Tensor parameter, const at::Tensor& gradient, const std::optional<at::Tensor>& buffer, double lr,
          double momentum, double dampening, double weight_decay, bool nesterov, bool first_step, double grad_scale) {
  const at::NoGradGuard no_grad;
  // torch.optim.SGD starts the buffer as the gradient, undamped.
  const double keep = first_step ? 1 : 1 - dampening;
  const double carried = first_step ? 0 : momentum;
  at::Tensor velocity = buffer.value_or(at::Tensor());
  if (!flat_on_cpu({parameter, gradient, buffer.value_or(parameter)})) {
    at::Tensor g = (gradient.to(parameter.scalar_type()) * grad_scale).add_(parameter, weight_decay);
    if (velocity.defined()) {
      velocity.mul_(carried).add_(g, keep);
      g = nesterov ? g.add_(velocity, momentum) : velocity;
    }
    parameter.add_(g, -lr);
    return;
  }
  if (first_step && velocity.defined()) velocity.zero_();
  const SgdFactors factors{static_cast<float>(lr),   static_cast<float>(momentum),     static_cast<float>(keep),
                           static_cast<float>(weight_decay), static_cast<float>(grad_scale), nesterov};
  float* p = parameter.mutable_data_ptr<float>();
  const float* g = gradient.const_data_ptr<float>();
  float* v = velocity.defined() ? velocity.mutable_data_ptr<float>() : nullptr;
  at::parallel_for(0, (parameter.numel() + lanes - 1) / lanes, optimizer_grain / lanes,
                   [&](int64_t begin, int64_t end) {
                     update(begin * lanes, std::min(parameter.numel(), end * lanes), factors, p, g, v);
                   });
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(trainyard, library) {
  library.def(
      "sgd_(Tensor(a!) parameter, Tensor gradient, Tensor(b!)? momentum_buffer, float lr, float momentum=0.0, "
      "float dampening=0.0, float weight_decay=0.0, bool nesterov=False, bool first_step=False, "
      "float grad_scale=1.0) -> ()",
      &sgd_);
}

}  // namespace trainyard
