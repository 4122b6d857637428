// trainyard::embedding: rows of a table; backward adds to the rows of the table's gradient where they lie.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "autograd.h"
#include "checks.h"

namespace trainyard {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Threads share the columns, not the rows: each row's additions keep the order of the ids.
void add_rows(const at::Tensor& dy, const at::Tensor& ids, int64_t padding_index, at::Tensor& gradient) {
  const int64_t features = gradient.size(1);
  const int64_t stride = gradient.stride(0);
  const int64_t count = ids.numel();
  const int64_t* id = ids.const_data_ptr<int64_t>();
  const float* source = dy.const_data_ptr<float>();
  float* target = gradient.mutable_data_ptr<float>();
  at::parallel_for(0, features, 16, [&](int64_t begin, int64_t end) {
    for (int64_t row = 0; row < count; ++row) {
      if (id[row] == padding_index) continue;
      const float* from = source + row * features;
      float* to = target + id[row] * stride;
      for (int64_t column = begin; column < end; ++column) to[column] += from[column];
    }
  });
}

constexpr Checks embedding_checks("embedding");

struct Embedding : torch::autograd::Function<Embedding> {
  static at::Tensor forward(AutogradContext* context, const OptionalTensor& /*anchor*/, const Untracked& weight,
                            const Untracked& weight_gradient, const at::Tensor& ids, int64_t padding_index) {
    context->save_for_backward({ids});
    context->saved_data["weight_gradient"] = weight_gradient.tensor;
    context->saved_data["padding_index"] = padding_index;
    return at::embedding(weight.tensor, ids);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    at::Tensor gradient = context->saved_data["weight_gradient"].toTensor();
    const int64_t padding_index = context->saved_data["padding_index"].toInt();
    if (!gradients[0].defined() || !gradient.defined()) return variable_list(5);
    const at::Tensor ids = context->get_saved_variables()[0].contiguous();
    const at::Tensor dy = gradients[0].contiguous();
    // Ids and gradient may have been written to and resized since.
    embedding_checks.numbers("weight_gradient", gradient);
    embedding_checks.shape(gradient.dim() == 2, "weight_gradient", gradient, "[rows, features]");
    embedding_checks.range("ids", ids, gradient.size(0));
    embedding_checks.features("dy", dy, gradient.size(1));
    embedding_checks.shape(dy.sizes().slice(0, dy.dim() - 1) == ids.sizes(), "dy", dy, "of the ids' sizes, with features");
    if (on_cpu_in_float(dy) && gradient.scalar_type() == at::kFloat && gradient.stride(1) == 1 &&
        ids.scalar_type() == at::kLong) {
      add_rows(dy, ids, padding_index, gradient);
    } else {
      const at::Tensor kept = ids.reshape(-1).ne(padding_index).unsqueeze(1);
      gradient.index_add_(0, ids.reshape(-1), (dy.reshape({-1, dy.size(-1)}) * kept).to(gradient.scalar_type()));
    }
    return variable_list(5);
  }
};

at::Tensor embedding(const at::Tensor& weight, const at::Tensor& ids, const OptionalTensor& weight_gradient,
                     int64_t padding_index) {
  embedding_checks.numbers("weight", weight);
  embedding_checks.shape(weight.dim() == 2, "weight", weight, "[rows, features]");
  embedding_checks.gradient("weight_gradient", weight_gradient, weight);
  embedding_checks.integers("ids", ids, weight);
  embedding_checks.range("ids", ids, weight.size(0));
  return Embedding::apply(gradient_anchor(weight_gradient.has_value()), untracked(weight), untracked(weight_gradient),
                          ids, padding_index);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(trainyard, library) {
  library.def(
      "embedding(Tensor weight, Tensor ids, Tensor(a!)? weight_gradient, int padding_index=-1) -> Tensor", &embedding);
}

}  // namespace trainyard
