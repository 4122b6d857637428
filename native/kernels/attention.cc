// trainyard::attention: causal attention with shared key and value heads and a sliding window.
// trainyard::rotary_attention: the same from one projection of queries, keys and values, turned by their positions'
// angles on the way in (RoFormer, arXiv 2104.09864) and back on the way out; no turned copy is kept.
#include <ATen/ATen.h>

#include <limits>

#include "attention_core.h"
#include "autograd.h"
#include "checks.h"

namespace trainyard {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// A tensor [batch, length, heads, head size] whose last dimension is contiguous.
Heads<const float> heads_of(const at::Tensor& tensor) {
  return {tensor.const_data_ptr<float>(), tensor.stride(0), tensor.stride(1), tensor.stride(2)};
}

Heads<float> mutable_heads_of(const at::Tensor& tensor) {
  return {tensor.mutable_data_ptr<float>(), tensor.stride(0), tensor.stride(1), tensor.stride(2)};
}

at::Tensor dense_heads(const at::Tensor& tensor) { return tensor.stride(-1) == 1 ? tensor : tensor.contiguous(); }

AttentionShape shape_of(const at::Tensor& query, const at::Tensor& key, int64_t window, double scale) {
  return {query.size(0), query.size(1), query.size(2), key.size(2), query.size(3), window, static_cast<float>(scale)};
}

void check_window(const Checks& checks, std::optional<int64_t> window) {
  if (window.has_value()) checks.number(*window > 0, "window", *window, "positive");
}

// Forward and backward ask the same, for what was kept may have been resized since.
void check_heads(const Checks& checks, const at::Tensor& query, const at::Tensor& key, const at::Tensor& value) {
  checks.numbers("query", query);
  checks.alike("key", key, query);
  checks.alike("value", value, query);
  checks.shape(query.dim() == 4 && query.size(3) > 0, "query", query, "[batch, length, heads, head size]");
  checks.shape(key.dim() == 4 && key.size(2) > 0 && query.size(2) % key.size(2) == 0, "key", key,
               "[batch, length, key_value_heads, head size], with key_value_heads that divide the query's");
  checks.sizes("key", key, {query.size(0), query.size(1), key.size(2), query.size(3)});
  checks.sizes("value", value, key.sizes());
}

struct Attention : torch::autograd::Function<Attention> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& query, const at::Tensor& key,
                            const at::Tensor& value, int64_t window, double scale) {
    const at::Tensor q = dense_heads(query);
    const at::Tensor k = dense_heads(key);
    const at::Tensor v = dense_heads(value);
    at::Tensor out = at::empty(q.sizes(), q.options());
    const at::Tensor log_sums = at::empty({q.size(0), q.size(2), q.size(1)}, q.options());
    attention_forward(shape_of(q, k, window, scale), {}, heads_of(q), heads_of(k), heads_of(v), mutable_heads_of(out),
                      log_sums.mutable_data_ptr<float>());
    context->save_for_backward({q, k, v, log_sums, out});
    context->saved_data["window"] = window;
    context->saved_data["scale"] = scale;
    return out;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    if (!gradients[0].defined()) return variable_list(5);
    const auto saved = context->get_saved_variables();
    constexpr Checks checks("attention backward");
    check_heads(checks, saved[0], saved[1], saved[2]);
    checks.sizes("out", saved[4], saved[0].sizes());
    checks.alike("dy", gradients[0], saved[0]);
    checks.sizes("dy", gradients[0], saved[0].sizes());
    const at::Tensor d_out = dense_heads(gradients[0]);
    at::Tensor dq = at::empty(saved[0].sizes(), d_out.options());
    at::Tensor dk = at::empty(saved[1].sizes(), d_out.options());
    at::Tensor dv = at::empty(saved[2].sizes(), d_out.options());
    attention_backward(shape_of(saved[0], saved[1], context->saved_data["window"].toInt(),
                                context->saved_data["scale"].toDouble()),
                       {}, heads_of(saved[0]), heads_of(saved[1]), heads_of(saved[2]), heads_of(saved[4]),
                       saved[3].const_data_ptr<float>(), heads_of(d_out), mutable_heads_of(dq), mutable_heads_of(dk),
                       mutable_heads_of(dv));
    return {dq, dk, dv, at::Tensor(), at::Tensor()};
  }
};

// The three parts of one projection, as views [batch, length, heads, head size].
struct Parts {
  at::Tensor query;
  at::Tensor key;
  at::Tensor value;

  Parts(const at::Tensor& projected, int64_t heads, int64_t shared) {
    const int64_t total = heads + 2 * shared;
    const at::Tensor all =
        projected.view({projected.size(0), projected.size(1), total, projected.size(2) / total});
    query = all.narrow(2, 0, heads);
    key = all.narrow(2, heads, shared);
    value = all.narrow(2, heads + shared, shared);
  }
};

// Forward and backward ask the same, for what was kept may have been resized since.
void check_projected(const Checks& checks, const at::Tensor& projected, const at::Tensor& cosines,
                     const at::Tensor& sines, int64_t heads, int64_t shared) {
  checks.number(heads > 0, "heads", heads, "positive");
  checks.number(shared > 0 && heads % shared == 0, "key_value_heads", shared, "positive and divide the heads");
  checks.numbers("projected", projected);
  const int64_t total = heads + 2 * shared;
  checks.shape(projected.dim() == 3 && projected.size(2) > 0 && projected.size(2) % (2 * total) == 0, "projected",
               projected, "[batch, length, (heads + 2 key_value_heads) head size], with an even head size");
  checks.numbers("cosines", cosines);
  checks.shape(cosines.dim() == 2 && cosines.size(0) >= projected.size(1) &&
                   cosines.size(1) == projected.size(2) / (2 * total),
               "cosines", cosines, "[length or more, head size / 2]");
  checks.shape(cosines.device() == projected.device(), "cosines", cosines, "on the device of projected");
  checks.alike("sines", sines, cosines);
  checks.sizes("sines", sines, cosines.sizes());
}

struct RotaryAttention : torch::autograd::Function<RotaryAttention> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& projected, const Untracked& cosines,
                            const Untracked& sines, int64_t heads, int64_t shared, int64_t window, double scale) {
    const at::Tensor input = projected.contiguous();
    const Parts parts(input, heads, shared);
    at::Tensor out = at::empty(parts.query.sizes(), input.options());
    const at::Tensor log_sums = at::empty({input.size(0), heads, input.size(1)}, input.options());
    attention_forward(shape_of(parts.query, parts.key, window, scale),
                      {cosines.tensor.const_data_ptr<float>(), sines.tensor.const_data_ptr<float>()},
                      heads_of(parts.query), heads_of(parts.key), heads_of(parts.value), mutable_heads_of(out),
                      log_sums.mutable_data_ptr<float>());
    const at::Tensor flat = out.flatten(2);
    context->save_for_backward({input, cosines.tensor, sines.tensor, log_sums, flat});
    context->saved_data["heads"] = heads;
    context->saved_data["shared"] = shared;
    context->saved_data["window"] = window;
    context->saved_data["scale"] = scale;
    return flat;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    if (!gradients[0].defined()) return variable_list(7);
    const auto saved = context->get_saved_variables();
    const int64_t heads = context->saved_data["heads"].toInt();
    const int64_t shared = context->saved_data["shared"].toInt();
    constexpr Checks checks("rotary_attention backward");
    check_projected(checks, saved[0], saved[1], saved[2], heads, shared);
    const Parts parts(saved[0], heads, shared);
    checks.alike("dy", gradients[0], saved[0]);
    checks.sizes("dy", gradients[0], saved[4].sizes());
    checks.rows("out", saved[4], saved[0].sizes(), parts.query.size(2) * parts.query.size(3));
    at::Tensor d_projected = at::empty_like(saved[0]);
    const Parts d_parts(d_projected, heads, shared);
    const at::Tensor d_out = gradients[0].contiguous().view(parts.query.sizes());
    attention_backward(shape_of(parts.query, parts.key, context->saved_data["window"].toInt(),
                                context->saved_data["scale"].toDouble()),
                       {saved[1].const_data_ptr<float>(), saved[2].const_data_ptr<float>()}, heads_of(parts.query),
                       heads_of(parts.key), heads_of(parts.value), heads_of(saved[4].view(parts.query.sizes())),
                       saved[3].const_data_ptr<float>(), heads_of(d_out), mutable_heads_of(d_parts.query),
                       mutable_heads_of(d_parts.key), mutable_heads_of(d_parts.value));
    variable_list result(7);
    result[0] = d_projected;
    return result;
  }
};

at::Tensor attention_with_aten(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                               std::optional<int64_t> window, double scale) {
  const int64_t length = query.size(1);
  OptionalTensor mask;
  if (window.has_value() && *window < length) {
    mask = at::ones({length, length}, query.options().dtype(at::kBool)).tril().triu(1 - *window);
  }
  return at::scaled_dot_product_attention(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), mask, 0.0,
                                          !mask.has_value(), scale, query.size(2) != key.size(2))
      .transpose(1, 2)
      .flatten(2);
}

at::Tensor turn(const at::Tensor& heads, const at::Tensor& cosines, const at::Tensor& sines) {
  const auto halves = heads.chunk(2, -1);
  const at::Tensor cosine = cosines.to(heads.scalar_type()).unsqueeze(1);
  const at::Tensor sine = sines.to(heads.scalar_type()).unsqueeze(1);
  return at::cat({halves[0] * cosine - halves[1] * sine, halves[1] * cosine + halves[0] * sine}, -1);
}

int64_t reach(std::optional<int64_t> window) { return window.value_or(std::numeric_limits<int64_t>::max() / 2); }

at::Tensor attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                     std::optional<int64_t> window, double scale) {
  constexpr Checks checks("attention");
  check_heads(checks, query, key, value);
  check_window(checks, window);
  if (!on_cpu_in_float(query) || !attention_supported()) return attention_with_aten(query, key, value, window, scale);
  return Attention::apply(query, key, value, reach(window), scale).flatten(2);
}

at::Tensor rotary_attention(const at::Tensor& projected, const at::Tensor& cosines, const at::Tensor& sines,
                            int64_t heads, int64_t key_value_heads, std::optional<int64_t> window, double scale) {
  constexpr Checks checks("rotary_attention");
  check_projected(checks, projected, cosines, sines, heads, key_value_heads);
  check_window(checks, window);
  if (!on_cpu_in_float(projected) || !on_cpu_in_float(cosines) || !attention_supported()) {
    const Parts parts(projected.contiguous(), heads, key_value_heads);
    const at::Tensor cosine = cosines.narrow(0, 0, projected.size(1));
    const at::Tensor sine = sines.narrow(0, 0, projected.size(1));
    return attention_with_aten(turn(parts.query, cosine, sine), turn(parts.key, cosine, sine), parts.value, window,
                               scale);
  }
  return RotaryAttention::apply(projected, untracked(cosines.contiguous()), untracked(sines.contiguous()), heads,
                                key_value_heads, reach(window), scale);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(trainyard, library) {
  library.def("attention(Tensor query, Tensor key, Tensor value, int? window, float scale) -> Tensor", &attention);
  library.def(
      "rotary_attention(Tensor projected, Tensor cosines, Tensor sines, int heads, int key_value_heads, int? window, "
      "float scale) -> Tensor",
      &rotary_attention);
}

}  // namespace trainyard
