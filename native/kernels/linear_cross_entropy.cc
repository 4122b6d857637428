// trainyard::linear_cross_entropy: scale * sum of the tokens' cross-entropies of hidden W^T. The logits exist once:
// backward turns them into their own gradient, some rows at a time, and multiplies while those are in the cache.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <vector>

#include "autograd.h"
#include "checks.h"
#include "deferred_products.h"
#include "gemm.h"
#include "simd.h"

namespace trainyard {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr Checks linear_cross_entropy_checks("linear_cross_entropy");
constexpr int64_t ignored = -100;
// Rows of logits between their making and their next use.
constexpr int64_t chunk_rows = 1024;

// log of the sum of exponentials of each row, and the row's loss.
TRAINYARD_CLONES void row_losses(int64_t begin, int64_t end, int64_t classes, const float* logits,
                                 const int64_t* targets, float* log_sums, double* losses) {
  for (int64_t row = begin; row < end; ++row) {
    const float* values = logits + row * classes;
    float largest = values[0];
    if (classes >= lanes) {
      Floats most = load(values);
      int64_t i = lanes;
      for (; i + lanes <= classes; i += lanes) most = maximum(most, load(values + i));
      most = maximum(most, load(values + classes - lanes));
      for (int64_t lane = 0; lane < lanes; ++lane) largest = std::max(largest, most[lane]);
    } else {
      for (int64_t i = 1; i < classes; ++i) largest = std::max(largest, values[i]);
    }
    Floats totals{};
    int64_t i = 0;
    for (; i + lanes <= classes; i += lanes) totals += exponential(load(values + i) - largest);
    double total = sum(totals);
    for (; i < classes; ++i) total += std::exp(values[i] - largest);
    log_sums[row] = static_cast<float>(std::log(total)) + largest;
    losses[row] = targets[row] == ignored ? 0 : std::log(total) + largest - values[targets[row]];
  }
}

// logits = factor (softmax(logits) - one at the target), or 0 where there is none.
TRAINYARD_CLONES void turn_into_gradient(int64_t begin, int64_t end, int64_t classes, float factor, float* logits,
                                         const int64_t* targets, const float* log_sums) {
  for (int64_t row = begin; row < end; ++row) {
    float* values = logits + row * classes;
    const bool counts = targets[row] != ignored;
    const float scale = counts ? factor : 0.0F;
    for (int64_t i = 0; i < classes; i += lanes) {
      const int64_t count = classes - i;
      store_part(values + i, exponential(load_part(values + i, count) - log_sums[row]) * scale, count);
    }
    if (counts) values[targets[row]] -= factor;
  }
}

// Logits and log-sums of float32 rows on the CPU; returns the sum of the losses.
double losses_by_rows(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets,
                      at::Tensor& logits, at::Tensor& log_sums) {
  const int64_t rows = hidden.size(0);
  const int64_t depth = hidden.size(1);
  const int64_t classes = weight.size(0);
  const float* source = hidden.const_data_ptr<float>();
  const float* matrix = weight.const_data_ptr<float>();
  const int64_t* target = targets.const_data_ptr<int64_t>();
  float* values = logits.mutable_data_ptr<float>();
  float* sums = log_sums.mutable_data_ptr<float>();
  std::vector<double> losses(static_cast<size_t>(rows));
  for (int64_t row = 0; row < rows; row += chunk_rows) {
    const int64_t count = std::min(chunk_rows, rows - row);
    gemm(count, classes, depth, {source + row * depth, depth, 1}, {matrix, depth, 1}, {values + row * classes, classes});
    at::parallel_for(row, row + count, 1, [&](int64_t begin, int64_t end) {
      row_losses(begin, end, classes, values, target, sums, losses.data());
    });
  }
  double total = 0;
  for (const double loss : losses) total += loss;
  return total;
}

// Overwrites the logits; returns the gradient of the hidden rows when it is wanted.
at::Tensor backward_by_rows(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets,
                            const at::Tensor& logits, const at::Tensor& log_sums, float factor, bool hidden_wanted,
                            const at::Tensor& weight_gradient) {
  const int64_t rows = hidden.size(0);
  const int64_t depth = hidden.size(1);
  const int64_t classes = weight.size(0);
  at::Tensor d_hidden = hidden_wanted ? at::empty_like(hidden) : at::Tensor();
  const float* matrix = weight.const_data_ptr<float>();
  const int64_t* target = targets.const_data_ptr<int64_t>();
  const float* sums = log_sums.const_data_ptr<float>();
  float* values = logits.mutable_data_ptr<float>();
  for (int64_t row = 0; row < rows; row += chunk_rows) {
    const int64_t count = std::min(chunk_rows, rows - row);
    const float* chunk = values + row * classes;
    at::parallel_for(row, row + count, 1, [&](int64_t begin, int64_t end) {
      turn_into_gradient(begin, end, classes, factor, values, target, sums);
    });
    if (hidden_wanted) {
      gemm(count, depth, classes, {chunk, classes, 1}, {matrix, 1, depth},
           {d_hidden.mutable_data_ptr<float>() + row * depth, depth});
    }
    if (weight_gradient.defined()) {
      add_product(weight_gradient, logits.narrow(0, row, count), hidden.narrow(0, row, count));
    }
  }
  return d_hidden;
}

// Forward and backward ask the same, for what was kept may have been written to since.
void check_operands(const at::Tensor& hidden, const at::Tensor& weight, const OptionalTensor& weight_gradient,
                    const at::Tensor& targets) {
  linear_cross_entropy_checks.numbers("hidden", hidden);
  linear_cross_entropy_checks.alike("weight", weight, hidden);
  linear_cross_entropy_checks.shape(hidden.dim() == 2, "hidden", hidden, "[n, features]");
  linear_cross_entropy_checks.shape(weight.dim() == 2 && weight.size(0) > 0, "weight", weight, "[classes, features]");
  linear_cross_entropy_checks.features("hidden", hidden, weight.size(1));
  linear_cross_entropy_checks.gradient("weight_gradient", weight_gradient, weight);
  linear_cross_entropy_checks.integers("targets", targets, hidden);
  linear_cross_entropy_checks.sizes("targets", targets, {hidden.size(0)});
  linear_cross_entropy_checks.range("targets", targets, weight.size(0), ignored);
}

struct LinearCrossEntropy : torch::autograd::Function<LinearCrossEntropy> {
  static variable_list forward(AutogradContext* context, const at::Tensor& input, const OptionalTensor& /*anchor*/,
                               const Untracked& weight_tensor, const Untracked& weight_gradient,
                               const at::Tensor& labels, double scale) {
    const at::Tensor hidden = input.contiguous();
    const at::Tensor weight = weight_tensor.tensor.contiguous();
    const at::Tensor targets = labels.contiguous();
    at::Tensor logits;
    at::Tensor log_sums;
    at::Tensor loss;
    if (on_cpu_in_float(hidden)) {
      logits = at::empty({hidden.size(0), weight.size(0)}, hidden.options());
      log_sums = at::empty({hidden.size(0)}, hidden.options());
      loss = at::scalar_tensor(losses_by_rows(hidden, weight, targets, logits, log_sums) * scale, hidden.options());
    } else {
      logits = at::mm(hidden, weight.t());
      log_sums = widened(logits).logsumexp(-1);
      const at::Tensor counts = targets.ne(ignored);
      const at::Tensor chosen = widened(logits).gather(1, targets.clamp_min(0).unsqueeze(1)).squeeze(1);
      loss = ((log_sums - chosen) * counts).sum() * scale;
    }
    context->mark_non_differentiable({logits});
    context->save_for_backward({hidden, weight, targets, log_sums});
    context->saved_data["logits"] = logits;
    context->saved_data["weight_gradient"] = weight_gradient.tensor;
    context->saved_data["scale"] = scale;
    return {loss, logits};
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    variable_list result(6);
    if (!gradients[0].defined()) return result;
    at::Tensor logits = context->saved_data["logits"].toTensor();
    TORCH_CHECK(logits.defined(), "linear_cross_entropy: backward runs once, for it overwrites the logits");
    context->saved_data["logits"] = at::Tensor();
    const auto saved = context->get_saved_variables();
    const at::Tensor& hidden = saved[0];
    const at::Tensor& weight = saved[1];
    const at::Tensor& targets = saved[2];
    at::Tensor weight_gradient = context->saved_data["weight_gradient"].toTensor();
    check_operands(hidden, weight, weight_gradient, targets);
    linear_cross_entropy_checks.memory("weight_gradient", weight_gradient);
    linear_cross_entropy_checks.alike("logits", logits, hidden);
    linear_cross_entropy_checks.sizes("logits", logits, {hidden.size(0), weight.size(0)});
    const double scale = context->saved_data["scale"].toDouble();
    const bool fits = !weight_gradient.defined() ||
                      (weight_gradient.scalar_type() == at::kFloat && weight_gradient.is_contiguous());
    if (on_cpu_in_float(hidden) && fits) {
      const auto factor = static_cast<float>(gradients[0].item<double>() * scale);
      result[0] = backward_by_rows(hidden, weight, targets, logits, saved[3], factor, context->needs_input_grad(0),
                                   weight_gradient);
      return result;
    }
    at::Tensor d_logits = (widened(logits) - saved[3].unsqueeze(1)).exp_();
    const at::Tensor counts = targets.ne(ignored).unsqueeze(1).to(d_logits.scalar_type());
    d_logits.scatter_add_(1, targets.clamp_min(0).unsqueeze(1), -at::ones_like(counts));
    d_logits.mul_(counts * (gradients[0] * scale));
    const at::Tensor narrow = d_logits.to(hidden.scalar_type());
    if (context->needs_input_grad(0)) result[0] = at::mm(narrow, weight);
    if (weight_gradient.defined()) add_product(weight_gradient, narrow, hidden);
    return result;
  }
};

std::tuple<at::Tensor, at::Tensor> linear_cross_entropy(const at::Tensor& hidden, const at::Tensor& weight,
                                                        const OptionalTensor& weight_gradient,
                                                        const at::Tensor& targets, double scale) {
  check_operands(hidden, weight, weight_gradient, targets);
  const auto both = LinearCrossEntropy::apply(hidden, gradient_anchor(weight_gradient.has_value()), untracked(weight),
                                              untracked(weight_gradient), targets.to(at::kLong), scale);
  return {both[0], both[1]};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(trainyard, library) {
  library.def(
      "linear_cross_entropy(Tensor hidden, Tensor weight, Tensor(a!)? weight_gradient, Tensor targets, float scale) "
      "-> (Tensor loss, Tensor logits)",
      &linear_cross_entropy);
}

}  // namespace trainyard
