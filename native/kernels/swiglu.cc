// trainyard::swiglu: silu(gate) * up in one pass each way (GLU variants, arXiv 2002.05202). The last dimension holds
// the gate's half and then the other. Nothing but the input is kept for backward.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "autograd.h"
#include "checks.h"
#include "simd.h"

namespace trainyard {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr Checks swiglu_checks("swiglu");

TRAINYARD_CLONES void forward_rows(int64_t begin, int64_t end, int64_t features, const float* gate_up, float* out) {
  for (int64_t row = begin; row < end; ++row) {
    const float* gate = gate_up + row * 2 * features;
    const float* up = gate + features;
    for (int64_t i = 0; i < features; i += lanes) {
      const int64_t count = features - i;
      const Floats g = load_part(gate + i, count);
      store_part(out + row * features + i, g * sigmoid(g) * load_part(up + i, count), count);
    }
  }
}

TRAINYARD_CLONES void backward_rows(int64_t begin, int64_t end, int64_t features, const float* gate_up, const float* dy,
                                    float* gradient) {
  for (int64_t row = begin; row < end; ++row) {
    const float* gate = gate_up + row * 2 * features;
    const float* up = gate + features;
    float* d_gate = gradient + row * 2 * features;
    float* d_up = d_gate + features;
    for (int64_t i = 0; i < features; i += lanes) {
      const int64_t count = features - i;
      const Floats g = load_part(gate + i, count);
      const Floats d = load_part(dy + row * features + i, count);
      const Floats s = sigmoid(g);
      const Floats silu = g * s;
      store_part(d_gate + i, d * load_part(up + i, count) * (s + silu * (splat(1.0F) - s)), count);
      store_part(d_up + i, d * silu, count);
    }
  }
}

struct Swiglu : torch::autograd::Function<Swiglu> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& gate_up) {
    context->save_for_backward({gate_up});
    if (!on_cpu_in_float(gate_up)) {
      const auto halves = gate_up.chunk(2, -1);
      return at::silu(halves[0]).mul_(halves[1]);
    }
    const at::Tensor input = gate_up.contiguous();
    std::vector<int64_t> shape = input.sizes().vec();
    const int64_t features = shape.back() /= 2;
    at::Tensor out = at::empty(shape, input.options());
    const float* source = input.const_data_ptr<float>();
    float* target = out.mutable_data_ptr<float>();
    at::parallel_for(0, out.numel() / std::max<int64_t>(features, 1), 16, [&](int64_t begin, int64_t end) {
      forward_rows(begin, end, features, source, target);
    });
    return out;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const at::Tensor gate_up = context->get_saved_variables()[0];
    if (!gradients[0].defined()) return {at::Tensor()};
    swiglu_checks.alike("gate_up", gate_up, gradients[0]);
    swiglu_checks.shape(gate_up.dim() > 0 && gate_up.size(-1) % 2 == 0, "gate_up", gate_up, "[..., 2 features]");
    swiglu_checks.rows("dy", gradients[0], gate_up.sizes(), gate_up.size(-1) / 2);
    if (!on_cpu_in_float(gate_up)) {
      const auto halves = gate_up.chunk(2, -1);
      return {at::cat({at::silu_backward(gradients[0] * halves[1], halves[0]), gradients[0] * at::silu(halves[0])}, -1)};
    }
    const at::Tensor input = gate_up.contiguous();
    const at::Tensor dy = gradients[0].contiguous();
    const int64_t features = dy.size(-1);
    at::Tensor gradient = at::empty_like(input);
    const float* source = input.const_data_ptr<float>();
    const float* incoming = dy.const_data_ptr<float>();
    float* target = gradient.mutable_data_ptr<float>();
    at::parallel_for(0, dy.numel() / std::max<int64_t>(features, 1), 16, [&](int64_t begin, int64_t end) {
      backward_rows(begin, end, features, source, incoming, target);
    });
    return {gradient};
  }
};

at::Tensor swiglu(const at::Tensor& gate_up) {
  swiglu_checks.numbers("gate_up", gate_up);
  swiglu_checks.shape(gate_up.dim() > 0 && gate_up.size(-1) % 2 == 0, "gate_up", gate_up, "[..., 2 features]");
  return Swiglu::apply(gate_up);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(trainyard, library) { library.def("swiglu(Tensor gate_up) -> Tensor", &swiglu); }

}  // namespace trainyard
