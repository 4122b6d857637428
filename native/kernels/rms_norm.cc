// trainyard::rms_norm and add_rms_norm: x / sqrt(mean(x^2) + eps) * weight (arXiv 1910.07467), one pass each way. The
// second adds to the residual stream first and returns the sum as well, so that backward also merges the two
// gradients that meet there.
#include <ATen/ATen.h>

#include "autograd.h"
#include "checks.h"
#include "row_blocks.h"
#include "simd.h"

namespace trainyard {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// `delta` may be null; then `sum_out` is not written.
TRAINYARD_CLONES void forward_rows(int64_t begin, int64_t end, int64_t features, float epsilon, const float* x,
                                   const float* delta, const float* weight, float* sum_out, float* out, float* rstd) {
  for (int64_t row = begin; row < end; ++row) {
    const int64_t start = row * features;
    const float* source = delta == nullptr ? x + start : sum_out + start;
    Floats squares{};
    for (int64_t i = 0; i < features; i += lanes) {
      const int64_t count = features - i;
      Floats value = load_part(x + start + i, count);
      if (delta != nullptr) {
        value += load_part(delta + start + i, count);
        store_part(sum_out + start + i, value, count);
      }
      squares += value * value;
    }
    const float scale = 1.0F / std::sqrt(sum(squares) / static_cast<float>(features) + epsilon);
    rstd[row] = scale;
    for (int64_t i = 0; i < features; i += lanes) {
      const int64_t count = features - i;
      store_part(out + start + i, load_part(source + i, count) * scale * load_part(weight + i, count), count);
    }
  }
}

// dx = rstd (w dy - x rstd^2 mean(w dy x)) + d_sum; `d_sum` and `d_weight` may be null.
TRAINYARD_CLONES void backward_rows(int64_t begin, int64_t end, int64_t features, const float* x, const float* weight,
                                    const float* rstd, const float* dy, const float* d_sum, float* dx,
                                    float* d_weight) {
  for (int64_t row = begin; row < end; ++row) {
    const int64_t start = row * features;
    const float scale = rstd[row];
    Floats products{};
    for (int64_t i = 0; i < features; i += lanes) {
      const int64_t count = features - i;
      const Floats value = load_part(x + start + i, count);
      const Floats d = load_part(dy + start + i, count);
      products += value * d * load_part(weight + i, count);
      if (d_weight != nullptr) store_part(d_weight + i, load_part(d_weight + i, count) + d * value * scale, count);
    }
    const float mean = sum(products) / static_cast<float>(features) * scale * scale;
    for (int64_t i = 0; i < features; i += lanes) {
      const int64_t count = features - i;
      const Floats value = load_part(x + start + i, count);
      Floats d = load_part(dy + start + i, count) * load_part(weight + i, count);
      d = (d - value * mean) * scale;
      if (d_sum != nullptr) d += load_part(d_sum + start + i, count);
      store_part(dx + start + i, d, count);
    }
  }
}

at::Tensor backward_with_aten(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& rstd,
                              const at::Tensor& dy, at::Tensor& weight_gradient) {
  const at::Tensor unit = widened(x) * rstd;
  const at::Tensor d = widened(dy);
  const at::Tensor weighted = d * weight;
  if (weight_gradient.defined()) weight_gradient.add_((d * unit).flatten(0, -2).sum(0));
  return ((weighted - unit * (weighted * unit).mean(-1, true)) * rstd).to(x.scalar_type());
}

void check_operands(const Checks& checks, const at::Tensor& x, const at::Tensor& weight,
                    const OptionalTensor& weight_gradient) {
  checks.numbers("x", x);
  checks.shape(x.dim() > 0, "x", x, "[..., features]");
  checks.alike("weight", weight, x);
  checks.sizes("weight", weight, {x.size(-1)});
  checks.gradient("weight_gradient", weight_gradient, weight);
}

struct RmsNorm : torch::autograd::Function<RmsNorm> {
  // Returns the normalised rows, after the sum when there is a delta or `both`.
  static variable_list forward(AutogradContext* context, const at::Tensor& input, const OptionalTensor& delta,
                               const OptionalTensor& /*anchor*/, const Untracked& weight,
                               const Untracked& weight_gradient, double epsilon, bool both) {
    const at::Tensor x = input.contiguous();
    at::Tensor added = delta.has_value() ? at::empty_like(x) : x;
    at::Tensor out;
    at::Tensor rstd;
    if (on_cpu_in_float(x)) {
      const int64_t features = x.size(-1);
      const int64_t rows = x.numel() / std::max<int64_t>(features, 1);
      out = at::empty_like(x);
      rstd = at::empty({rows}, x.options());
      const at::Tensor other = delta.has_value() ? delta->contiguous() : at::Tensor();
      const at::Tensor gain = weight.tensor.contiguous();
      const float* source = x.const_data_ptr<float>();
      const float* addend = other.defined() ? other.const_data_ptr<float>() : nullptr;
      const float* factor = gain.const_data_ptr<float>();
      float* sum_target = other.defined() ? added.mutable_data_ptr<float>() : nullptr;
      float* target = out.mutable_data_ptr<float>();
      float* scales = rstd.mutable_data_ptr<float>();
      at::parallel_for(0, rows, 16, [&](int64_t begin, int64_t end) {
        forward_rows(begin, end, features, static_cast<float>(epsilon), source, addend, factor, sum_target, target,
                     scales);
      });
    } else {
      if (delta.has_value()) added = x + *delta;
      const at::Tensor wide = widened(added);
      rstd = (wide.square().mean(-1, true) + epsilon).rsqrt();
      out = (wide * rstd * weight.tensor).to(x.scalar_type());
    }
    context->save_for_backward({added, weight.tensor, rstd});
    context->saved_data["weight_gradient"] = weight_gradient.tensor;
    context->saved_data["delta"] = delta.has_value();
    if (!both) return {out};
    return {delta.has_value() ? added : input, out};
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor& x = saved[0];
    const at::Tensor& dy = gradients.back();
    const at::Tensor d_sum = gradients.size() > 1 ? gradients[0] : at::Tensor();
    at::Tensor weight_gradient = context->saved_data["weight_gradient"].toTensor();
    constexpr Checks checks("rms_norm backward");
    check_operands(checks, x, saved[1], weight_gradient);
    checks.memory("weight_gradient", weight_gradient);
    for (const at::Tensor& incoming : gradients) {
      if (!incoming.defined()) continue;
      checks.alike("dy", incoming, x);
      checks.sizes("dy", incoming, x.sizes());
    }
    at::Tensor dx = d_sum;
    if (dy.defined() && on_cpu_in_float(x)) {
      dx = at::empty_like(x);
      const int64_t features = x.size(-1);
      const at::Tensor gain = saved[1].contiguous();
      const at::Tensor incoming = dy.contiguous();
      const at::Tensor skipped = d_sum.defined() ? d_sum.contiguous() : d_sum;
      const float* source = x.const_data_ptr<float>();
      const float* factor = gain.const_data_ptr<float>();
      const float* scales = saved[2].const_data_ptr<float>();
      const float* from = incoming.const_data_ptr<float>();
      const float* beside = skipped.defined() ? skipped.const_data_ptr<float>() : nullptr;
      float* target = dx.mutable_data_ptr<float>();
      const bool wanted = weight_gradient.defined();
      const at::Tensor total = sum_over_rows(saved[2].numel(), features, [&](int64_t begin, int64_t end, float* part) {
        backward_rows(begin, end, features, source, factor, scales, from, beside, target, wanted ? part : nullptr);
      });
      if (wanted) weight_gradient.add_(total);
    } else if (dy.defined()) {
      dx = backward_with_aten(x, saved[1], saved[2], dy, weight_gradient);
      if (d_sum.defined()) dx += d_sum;
    }
    variable_list result(7);
    result[0] = dx;
    if (context->saved_data["delta"].toBool()) result[1] = dx;
    return result;
  }
};

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& weight_gradient,
                    double epsilon) {
  check_operands(Checks("rms_norm"), x, weight, weight_gradient);
  return RmsNorm::apply(x, std::nullopt, gradient_anchor(weight_gradient.has_value()), untracked(weight),
                        untracked(weight_gradient), epsilon, false)[0];
}

std::tuple<at::Tensor, at::Tensor> add_rms_norm(const at::Tensor& x, const OptionalTensor& delta,
                                                const at::Tensor& weight, const OptionalTensor& weight_gradient,
                                                double epsilon) {
  constexpr Checks checks("add_rms_norm");
  check_operands(checks, x, weight, weight_gradient);
  if (delta.has_value()) {
    checks.alike("delta", *delta, x);
    checks.sizes("delta", *delta, x.sizes());
  }
  const auto both = RmsNorm::apply(x, delta, gradient_anchor(weight_gradient.has_value()), untracked(weight),
                                   untracked(weight_gradient), epsilon, true);
  return {both[0], both[1]};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(trainyard, library) {
  library.def("rms_norm(Tensor x, Tensor weight, Tensor(a!)? weight_gradient, float eps) -> Tensor", &rms_norm);
  library.def(
      "add_rms_norm(Tensor x, Tensor? delta, Tensor weight, Tensor(a!)? weight_gradient, float eps) -> "
      "(Tensor, Tensor)",
      &add_rms_norm);
}

}  // namespace trainyard
