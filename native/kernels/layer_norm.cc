// trainyard::layer_norm: (x - mean) / sqrt(variance + eps) * weight + bias (arXiv 1607.06450), one pass each way.
#include <ATen/ATen.h>

#include "autograd.h"
#include "checks.h"
#include "row_blocks.h"
#include "simd.h"

namespace trainyard {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

TRAINYARD_CLONES void forward_rows(int64_t begin, int64_t end, int64_t features, float epsilon, const float* x,
                                   const float* weight, const float* bias, float* out, float* means, float* rstds) {
  const auto size = static_cast<float>(features);
  for (int64_t row = begin; row < end; ++row) {
    const float* source = x + row * features;
    Floats total{};
    for (int64_t i = 0; i < features; i += lanes) total += load_part(source + i, features - i);
    const float mean = sum(total) / size;
    Floats squares{};
    for (int64_t i = 0; i < features; i += lanes) {
      const int64_t count = features - i;
      // Lanes past the end would count mean^2 each.
      Floats deviation = load_part(source + i, count) - mean;
      if (count < lanes) {
        for (int64_t lane = count; lane < lanes; ++lane) deviation[lane] = 0;
      }
      squares += deviation * deviation;
    }
    const float rstd = 1.0F / std::sqrt(sum(squares) / size + epsilon);
    means[row] = mean;
    rstds[row] = rstd;
    for (int64_t i = 0; i < features; i += lanes) {
      const int64_t count = features - i;
      const Floats unit = (load_part(source + i, count) - mean) * rstd;
      store_part(out + row * features + i, unit * load_part(weight + i, count) + load_part(bias + i, count), count);
    }
  }
}

// dx = rstd (g - mean(g) - unit mean(g unit)) with g = w dy and unit = (x - mean) rstd.
TRAINYARD_CLONES void backward_rows(int64_t begin, int64_t end, int64_t features, const float* x, const float* weight,
                                    const float* means, const float* rstds, const float* dy, float* dx,
                                    float* d_weight, float* d_bias) {
  for (int64_t row = begin; row < end; ++row) {
    const int64_t start = row * features;
    const float mean = means[row];
    const float rstd = rstds[row];
    Floats plain{};
    Floats along{};
    for (int64_t i = 0; i < features; i += lanes) {
      const int64_t count = features - i;
      const Floats d = load_part(dy + start + i, count);
      const Floats unit = (load_part(x + start + i, count) - mean) * rstd;
      const Floats g = d * load_part(weight + i, count);
      plain += g;
      along += g * unit;
      store_part(d_weight + i, load_part(d_weight + i, count) + d * unit, count);
      store_part(d_bias + i, load_part(d_bias + i, count) + d, count);
    }
    const float mean_plain = sum(plain) / static_cast<float>(features);
    const float mean_along = sum(along) / static_cast<float>(features);
    for (int64_t i = 0; i < features; i += lanes) {
      const int64_t count = features - i;
      const Floats unit = (load_part(x + start + i, count) - mean) * rstd;
      const Floats g = load_part(dy + start + i, count) * load_part(weight + i, count);
      store_part(dx + start + i, (g - mean_plain - unit * mean_along) * rstd, count);
    }
  }
}

constexpr Checks layer_norm_checks("layer_norm");

// Forward and backward ask the same, for what was kept may have been resized since.
void check_operands(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& weight_gradient,
                    const OptionalTensor& bias_gradient) {
  layer_norm_checks.numbers("x", x);
  layer_norm_checks.shape(x.dim() > 0, "x", x, "[..., features]");
  layer_norm_checks.alike("weight", weight, x);
  layer_norm_checks.sizes("weight", weight, {x.size(-1)});
  layer_norm_checks.gradient("weight_gradient", weight_gradient, weight);
  layer_norm_checks.gradient("bias_gradient", bias_gradient, weight);
}

struct LayerNorm : torch::autograd::Function<LayerNorm> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input, const OptionalTensor& /*anchor*/,
                            const Untracked& weight, const Untracked& bias, const Untracked& weight_gradient,
                            const Untracked& bias_gradient, double epsilon) {
    const at::Tensor x = input.contiguous();
    at::Tensor out;
    at::Tensor means;
    at::Tensor rstds;
    if (on_cpu_in_float(x)) {
      const int64_t features = x.size(-1);
      const int64_t rows = x.numel() / std::max<int64_t>(features, 1);
      out = at::empty_like(x);
      means = at::empty({rows}, x.options());
      rstds = at::empty({rows}, x.options());
      const at::Tensor gain = weight.tensor.contiguous();
      const at::Tensor shift = bias.tensor.contiguous();
      const float* source = x.const_data_ptr<float>();
      const float* factor = gain.const_data_ptr<float>();
      const float* addend = shift.const_data_ptr<float>();
      float* target = out.mutable_data_ptr<float>();
      float* mean = means.mutable_data_ptr<float>();
      float* rstd = rstds.mutable_data_ptr<float>();
      at::parallel_for(0, rows, 16, [&](int64_t begin, int64_t end) {
        forward_rows(begin, end, features, static_cast<float>(epsilon), source, factor, addend, target, mean, rstd);
      });
    } else {
      const at::Tensor wide = widened(x);
      means = wide.mean(-1, true);
      rstds = ((wide - means).square().mean(-1, true) + epsilon).rsqrt();
      out = ((wide - means) * rstds * weight.tensor + bias.tensor).to(x.scalar_type());
    }
    context->save_for_backward({x, weight.tensor, means, rstds});
    context->saved_data["weight_gradient"] = weight_gradient.tensor;
    context->saved_data["bias_gradient"] = bias_gradient.tensor;
    return out;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    variable_list result(7);
    if (!gradients[0].defined()) return result;
    const at::Tensor& x = saved[0];
    const at::Tensor dy = gradients[0].contiguous();
    at::Tensor weight_gradient = context->saved_data["weight_gradient"].toTensor();
    at::Tensor bias_gradient = context->saved_data["bias_gradient"].toTensor();
    check_operands(x, saved[1], weight_gradient, bias_gradient);
    layer_norm_checks.memory("weight_gradient", weight_gradient);
    layer_norm_checks.memory("bias_gradient", bias_gradient);
    layer_norm_checks.alike("dy", dy, x);
    layer_norm_checks.sizes("dy", dy, x.sizes());
    const int64_t features = x.size(-1);
    at::Tensor d_weight;
    at::Tensor d_bias;
    if (on_cpu_in_float(x)) {
      result[0] = at::empty_like(x);
      const at::Tensor gain = saved[1].contiguous();
      const float* source = x.const_data_ptr<float>();
      const float* factor = gain.const_data_ptr<float>();
      const float* mean = saved[2].const_data_ptr<float>();
      const float* rstd = saved[3].const_data_ptr<float>();
      const float* from = dy.const_data_ptr<float>();
      float* target = result[0].mutable_data_ptr<float>();
      const at::Tensor total =
          sum_over_rows(saved[2].numel(), 2 * features, [&](int64_t begin, int64_t end, float* part) {
            backward_rows(begin, end, features, source, factor, mean, rstd, from, target, part, part + features);
          });
      d_weight = total.narrow(0, 0, features);
      d_bias = total.narrow(0, features, features);
    } else {
      const at::Tensor unit = (widened(x) - saved[2]) * saved[3];
      const at::Tensor d = widened(dy);
      const at::Tensor g = d * saved[1];
      d_weight = (d * unit).flatten(0, -2).sum(0);
      d_bias = d.flatten(0, -2).sum(0);
      result[0] = ((g - g.mean(-1, true) - unit * (g * unit).mean(-1, true)) * saved[3]).to(x.scalar_type());
    }
    if (weight_gradient.defined()) weight_gradient.add_(d_weight);
    if (bias_gradient.defined()) bias_gradient.add_(d_bias);
    return result;
  }
};

at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                      const OptionalTensor& weight_gradient, const OptionalTensor& bias_gradient, double epsilon) {
  check_operands(x, weight, weight_gradient, bias_gradient);
  layer_norm_checks.alike("bias", bias, x);
  layer_norm_checks.sizes("bias", bias, {x.size(-1)});
  return LayerNorm::apply(x, gradient_anchor(weight_gradient.has_value() || bias_gradient.has_value()),
                          untracked(weight), untracked(bias), untracked(weight_gradient), untracked(bias_gradient),
                          epsilon);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(trainyard, library) {
  library.def(
      "layer_norm(Tensor x, Tensor weight, Tensor bias, Tensor(a!)? weight_gradient, Tensor(b!)? bias_gradient, "
      "float eps) -> Tensor",
      &layer_norm);
}

}  // namespace trainyard
