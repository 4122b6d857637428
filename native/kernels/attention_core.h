// Causal attention over float32 memory, one key and value head at a time (arXiv 1706.03762, 2305.13245).
#pragma once

#include <cstdint>

namespace trainyard {

struct AttentionShape {
  int64_t batch;
  int64_t length;
  int64_t heads;
  int64_t key_value_heads;
  int64_t head_size;
  // How many positions, its own included, each position sees.
  int64_t window;
  float scale;
};

// Heads in memory: element (row, position, head, i) lies at data[row * batch + position * step + head * head + i].
template <class Float>
struct Heads {
  Float* data;
  int64_t batch;
  int64_t step;
  int64_t head;

  Float* at(int64_t row, int64_t index) const { return data + row * batch + index * head; }
};

// Angles by which queries and keys turn on the way in, each [length, head_size / 2]; null: they do not.
struct Rotation {
  const float* cosines = nullptr;
  const float* sines = nullptr;
};

// Whether the processor has what these need.
bool attention_supported();

// `log_sums` is [batch, heads, length], kept for backward.
void attention_forward(const AttentionShape& shape, Rotation rotation, Heads<const float> query, Heads<const float> key,
                       Heads<const float> value, Heads<float> out, float* log_sums);

void attention_backward(const AttentionShape& shape, Rotation rotation, Heads<const float> query,
                        Heads<const float> key, Heads<const float> value, Heads<const float> out,
                        const float* log_sums, Heads<const float> d_out, Heads<float> d_query, Heads<float> d_key,
                        Heads<float> d_value);

}  // namespace trainyard
