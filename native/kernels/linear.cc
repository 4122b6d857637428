// trainyard::linear: x W^T + bias + residual, with dW += dY^T X and db += sum dY added where the gradients live.
#include <ATen/ATen.h>

#include "autograd.h"
#include "checks.h"
#include "deferred_products.h"
#include "gemm_tensor.h"

namespace trainyard {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr Checks linear_checks("linear");

at::Tensor as_matrix(const at::Tensor& tensor) { return tensor.reshape({-1, tensor.size(-1)}); }

at::Tensor multiply(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& residual) {
  if (!on_cpu_in_float(x)) {
    at::Tensor result = at::linear(x, weight, bias.defined() ? OptionalTensor(bias) : std::nullopt);
    return residual.defined() ? result.add_(residual) : result;
  }
  const at::Tensor input = as_matrix(x).contiguous();
  const at::Tensor added = residual.defined() ? residual.contiguous() : residual;
  const at::Tensor shift = bias.defined() ? bias.contiguous() : bias;
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = weight.size(0);
  at::Tensor result = at::empty(shape, x.options());
  const int64_t columns = weight.size(0);
  gemm(input.size(0), columns, weight.size(1), operand(input, 0), operand(weight, 0),
       {result.mutable_data_ptr<float>(), columns, added.defined() ? added.const_data_ptr<float>() : nullptr, columns,
        shift.defined() ? shift.const_data_ptr<float>() : nullptr});
  return result;
}

at::Tensor input_gradient(const at::Tensor& dy, const at::Tensor& weight) {
  if (!on_cpu_in_float(dy)) return at::mm(dy, weight);
  const int64_t columns = weight.size(1);
  at::Tensor result = at::empty({dy.size(0), columns}, dy.options());
  gemm(dy.size(0), columns, weight.size(0), operand(dy, 0), operand(weight, 1),
       {result.mutable_data_ptr<float>(), columns});
  return result;
}

void check_forward(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& bias,
                   const OptionalTensor& weight_gradient, const OptionalTensor& bias_gradient,
                   const OptionalTensor& residual) {
  linear_checks.numbers("x", x);
  linear_checks.alike("weight", weight, x);
  linear_checks.shape(weight.dim() == 2, "weight", weight, "[outputs, inputs]");
  linear_checks.features("x", x, weight.size(1));
  const int64_t outputs = weight.size(0);
  if (bias.has_value()) {
    linear_checks.alike("bias", *bias, x);
    linear_checks.sizes("bias", *bias, {outputs});
  }
  if (residual.has_value()) {
    linear_checks.alike("residual", *residual, x);
    linear_checks.rows("residual", *residual, x.sizes(), outputs);
  }
  linear_checks.gradient("weight_gradient", weight_gradient, weight);
  if (bias_gradient.has_value()) {
    linear_checks.shape(bias_gradient->is_floating_point(), "bias_gradient", *bias_gradient, "floating-point");
    linear_checks.sizes("bias_gradient", *bias_gradient, {outputs});
  }
}

// `x` is kept where the weight wants a gradient. What was kept may have been resized since.
void check_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                    const at::Tensor& weight_gradient, const at::Tensor& bias_gradient) {
  linear_checks.shape(weight.dim() == 2, "weight", weight, "[outputs, inputs]");
  linear_checks.alike("weight", weight, dy);
  linear_checks.features("dy", dy, weight.size(0));
  linear_checks.gradient("weight_gradient", weight_gradient, weight);
  if (bias_gradient.defined()) linear_checks.sizes("bias_gradient", bias_gradient, {weight.size(0)});
  linear_checks.memory("weight_gradient", weight_gradient);
  linear_checks.memory("bias_gradient", bias_gradient);
  if (!x.defined()) return;
  linear_checks.alike("x", x, dy);
  linear_checks.rows("x", x, dy.sizes(), weight.size(1));
}

struct Linear : torch::autograd::Function<Linear> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const OptionalTensor& residual,
                            const OptionalTensor& /*anchor*/, const Untracked& weight, const Untracked& bias,
                            const Untracked& weight_gradient, const Untracked& bias_gradient) {
    context->saved_data["weight_gradient"] = weight_gradient.tensor;
    context->saved_data["bias_gradient"] = bias_gradient.tensor;
    context->saved_data["residual"] = residual.has_value();
    const at::Tensor matrix = has_unit_stride(weight.tensor) ? weight.tensor : weight.tensor.contiguous();
    context->save_for_backward({weight_gradient.tensor.defined() ? x : at::Tensor(), matrix});
    return multiply(x, matrix, bias.tensor, residual.value_or(at::Tensor()));
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor& dy = gradients[0];
    variable_list result(7);
    if (!dy.defined()) return result;
    const at::Tensor weight_gradient = context->saved_data["weight_gradient"].toTensor();
    at::Tensor bias_gradient = context->saved_data["bias_gradient"].toTensor();
    check_backward(dy, saved[0], saved[1], weight_gradient, bias_gradient);
    const at::Tensor rows = as_matrix(dy).contiguous();
    if (context->needs_input_grad(0)) {
      std::vector<int64_t> shape = dy.sizes().vec();
      shape.back() = saved[1].size(1);
      result[0] = input_gradient(rows, saved[1]).view(shape);
    }
    if (context->saved_data["residual"].toBool()) result[1] = dy;
    if (weight_gradient.defined()) add_product(weight_gradient, rows, as_matrix(saved[0]).contiguous());
    if (bias_gradient.defined()) bias_gradient.add_(rows.sum(0));
    return result;
  }
};

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& bias,
                  const OptionalTensor& weight_gradient, const OptionalTensor& bias_gradient,
                  const OptionalTensor& residual) {
  check_forward(x, weight, bias, weight_gradient, bias_gradient, residual);
  const bool wanted = weight_gradient.has_value() || bias_gradient.has_value();
  return Linear::apply(x, residual, gradient_anchor(wanted), untracked(weight), untracked(bias),
                       untracked(weight_gradient), untracked(bias_gradient));
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(trainyard, library) {
  library.def(
      "linear(Tensor x, Tensor weight, Tensor? bias, Tensor(a!)? weight_gradient, Tensor(b!)? bias_gradient, "
      "Tensor? residual=None) -> Tensor",
      &linear);
}

}  // namespace trainyard
