#include "attention_core.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <memory>
#include <new>

#include "attention_rows.h"
#include "gemm_kernel.h"

namespace trainyard {
namespace {

constexpr int64_t alignment = 16;  // in floats: a cache line
constexpr int64_t slack = 64;      // packing may write beyond its panel

constexpr int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

// One thread's memory, handed out piece by piece.
class Workspace {
 public:
  explicit Workspace(int64_t elements)
      : memory_(static_cast<float*>(std::aligned_alloc(64, round_up(elements, alignment) * sizeof(float)))),
        next_(memory_.get()) {
    if (next_ == nullptr) throw std::bad_alloc();
  }

  float* take(int64_t elements) {
    float* piece = next_;
    next_ += room(elements);
    return piece;
  }

  static int64_t room(int64_t elements) { return round_up(elements + slack, alignment); }

 private:
  struct Free {
    void operator()(float* memory) const { std::free(memory); }
  };
  std::unique_ptr<float, Free> memory_;
  float* next_;
};

// Sizes that every step of one head needs.
struct Plan {
  const GemmKernel& isa;
  const AttentionShape& shape;
  int64_t block;         // queries worked on together
  int64_t keys;          // the length, padded to whole panels of columns
  int64_t size;          // the head's size, padded likewise
  int64_t packed_rows;   // room for one block of packed rows, either way round

  explicit Plan(const AttentionShape& shape)
      : isa(*gemm_kernel()),
        shape(shape),
        block(isa.tile_rows * std::max<int64_t>(1, 64 / isa.tile_rows)),
        keys(round_up(shape.length, isa.tile_columns)),
        size(round_up(shape.head_size, isa.tile_columns)),
        packed_rows(block * std::max(round_up(keys, isa.tile_rows), size)) {}
};

// Products whose columns are the head's and whose summed dimension is a stretch of the keys, [low, low + depth).
void multiply_by_keys(const Plan& plan, int64_t rows, int64_t low, int64_t depth, const float* packed_rows,
                      const float* packed_keys, float* out, int64_t stride) {
  const int64_t width = plan.isa.tile_columns;
  for (int64_t column = 0; column < plan.shape.head_size; column += width) {
    plan.isa.multiply(rows, std::min(width, plan.shape.head_size - column), depth, packed_rows,
                      packed_keys + column * plan.shape.length + low * width, {out + column, stride});
  }
}

// The block of queries that begins at `first`, and the keys that it sees.
RowRange range_of(const Plan& plan, int64_t first, int64_t count) {
  const int64_t low = std::max<int64_t>(0, first - plan.shape.window + 1);
  return {first, low / plan.isa.tile_columns * plan.isa.tile_columns, first + count, plan.shape.window};
}

Rotation from_position(const Plan& plan, Rotation rotation, int64_t position) {
  if (rotation.cosines == nullptr) return rotation;
  const int64_t start = position * (plan.shape.head_size / 2);
  return {rotation.cosines + start, rotation.sines + start};
}

void load(const Plan& plan, int64_t first, int64_t count, const float* source, int64_t step, Rotation rotation,
          float* target) {
  const Rotation turn = from_position(plan, rotation, first);
  turn_rows(count, plan.shape.head_size, source + first * step, step, turn.cosines, turn.sines, 1, target,
            plan.shape.head_size);
}

void store_back(const Plan& plan, int64_t first, int64_t count, const float* source, Rotation rotation, float* target,
                int64_t step) {
  const Rotation turn = from_position(plan, rotation, first);
  turn_rows(count, plan.shape.head_size, source, plan.shape.head_size, turn.cosines, turn.sines, -1,
            target + first * step, step);
}

// Calls body(row, key and value head, workspace) for all, each thread with its own workspace.
template <class Body>
void for_each_head(const AttentionShape& shape, int64_t workspace, const Body& body) {
  at::parallel_for(0, shape.batch * shape.key_value_heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      Workspace memory(workspace);
      body(i / shape.key_value_heads, i % shape.key_value_heads, memory);
    }
  });
}

}  // namespace

bool attention_supported() { return gemm_kernel() != nullptr; }

void attention_forward(const AttentionShape& shape, Rotation rotation, Heads<const float> query, Heads<const float> key,
                       Heads<const float> value, Heads<float> out, float* log_sums) {
  const Plan plan(shape);
  const GemmKernel& isa = plan.isa;
  const int64_t size = shape.head_size;
  const int64_t group = shape.heads / shape.key_value_heads;
  const int64_t workspace = Workspace::room(plan.keys * size) * 2 + Workspace::room(plan.keys * plan.size) +
                            Workspace::room(plan.block * size) + Workspace::room(plan.block * plan.keys) +
                            Workspace::room(plan.packed_rows) + Workspace::room(plan.block);
  for_each_head(shape, workspace, [&](int64_t row, int64_t shared, Workspace& memory) {
    float* keys = memory.take(plan.keys * size);
    float* packed_keys = memory.take(plan.keys * size);
    float* packed_values = memory.take(plan.keys * plan.size);
    float* queries = memory.take(plan.block * size);
    float* scores = memory.take(plan.block * plan.keys);
    float* packed = memory.take(plan.packed_rows);
    float* inverse_sums = memory.take(plan.block);
    load(plan, 0, shape.length, key.at(row, shared), key.step, rotation, keys);
    isa.pack_columns({keys, size, 1}, shape.length, size, packed_keys);
    isa.pack_columns({value.at(row, shared), 1, value.step}, size, shape.length, packed_values);
    for (int64_t head = shared * group; head < (shared + 1) * group; ++head) {
      for (int64_t first = 0; first < shape.length; first += plan.block) {
        const int64_t count = std::min(plan.block, shape.length - first);
        const RowRange range = range_of(plan, first, count);
        const int64_t width = range.high - range.low;
        load(plan, first, count, query.at(row, head), query.step, rotation, queries);
        isa.pack_rows({queries, size, 1}, count, size, packed);
        isa.multiply(count, width, size, packed, packed_keys + range.low * size, {scores, width});
        softmax_rows(count, range, shape.scale, scores, inverse_sums,
                     log_sums + (row * shape.heads + head) * shape.length + first);
        isa.pack_rows({scores, width, 1}, count, width, packed);
        float* target = out.at(row, head) + first * out.step;
        multiply_by_keys(plan, count, range.low, width, packed, packed_values, target, out.step);
        scale_rows(count, size, inverse_sums, target, out.step);
      }
    }
  });
}

void attention_backward(const AttentionShape& shape, Rotation rotation, Heads<const float> query,
                        Heads<const float> key, Heads<const float> value, Heads<const float> out,
                        const float* log_sums, Heads<const float> d_out, Heads<float> d_query, Heads<float> d_key,
                        Heads<float> d_value) {
  const Plan plan(shape);
  const GemmKernel& isa = plan.isa;
  const int64_t size = shape.head_size;
  const int64_t group = shape.heads / shape.key_value_heads;
  const int64_t workspace = Workspace::room(plan.keys * size) * 5 + Workspace::room(plan.keys * plan.size) +
                            Workspace::room(plan.block * size) + Workspace::room(plan.block * plan.size) +
                            Workspace::room(plan.block * plan.keys) * 2 + Workspace::room(plan.packed_rows) +
                            Workspace::room(plan.block);
  for_each_head(shape, workspace, [&](int64_t row, int64_t shared, Workspace& memory) {
    float* keys = memory.take(plan.keys * size);
    float* keys_as_columns = memory.take(plan.keys * size);
    float* values_as_columns = memory.take(plan.keys * size);
    float* keys_as_depth = memory.take(plan.keys * plan.size);
    float* key_sum = memory.take(plan.keys * size);
    float* value_sum = memory.take(plan.keys * size);
    float* queries = memory.take(plan.block * size);
    float* packed_columns = memory.take(plan.block * plan.size);
    float* scores = memory.take(plan.block * plan.keys);
    float* d_scores = memory.take(plan.block * plan.keys);
    float* packed = memory.take(plan.packed_rows);
    float* inner = memory.take(plan.block);
    load(plan, 0, shape.length, key.at(row, shared), key.step, rotation, keys);
    isa.pack_columns({keys, size, 1}, shape.length, size, keys_as_columns);
    isa.pack_columns({keys, 1, size}, size, shape.length, keys_as_depth);
    isa.pack_columns({value.at(row, shared), value.step, 1}, shape.length, size, values_as_columns);
    std::fill(key_sum, key_sum + shape.length * size, 0.0F);
    std::fill(value_sum, value_sum + shape.length * size, 0.0F);
    for (int64_t head = shared * group; head < (shared + 1) * group; ++head) {
      for (int64_t first = 0; first < shape.length; first += plan.block) {
        const int64_t count = std::min(plan.block, shape.length - first);
        const RowRange range = range_of(plan, first, count);
        const int64_t width = range.high - range.low;
        const float* from = d_out.at(row, head) + first * d_out.step;
        load(plan, first, count, query.at(row, head), query.step, rotation, queries);
        dot_rows(count, size, from, d_out.step, out.at(row, head) + first * out.step, out.step, inner);

        isa.pack_rows({queries, size, 1}, count, size, packed);
        isa.multiply(count, width, size, packed, keys_as_columns + range.low * size, {scores, width});
        isa.pack_rows({from, d_out.step, 1}, count, size, packed);
        isa.multiply(count, width, size, packed, values_as_columns + range.low * size, {d_scores, width});
        softmax_gradient_rows(count, range, shape.scale, log_sums + (row * shape.heads + head) * shape.length + first,
                              inner, scores, d_scores);

        float* value_target = value_sum + range.low * size;
        isa.pack_rows({scores, 1, width}, width, count, packed);
        isa.pack_columns({from, 1, d_out.step}, size, count, packed_columns);
        isa.multiply(width, size, count, packed, packed_columns, {value_target, size, value_target, size});

        float* key_target = key_sum + range.low * size;
        isa.pack_rows({d_scores, 1, width}, width, count, packed);
        isa.pack_columns({queries, 1, size}, size, count, packed_columns);
        isa.multiply(width, size, count, packed, packed_columns, {key_target, size, key_target, size});

        isa.pack_rows({d_scores, width, 1}, count, width, packed);
        multiply_by_keys(plan, count, range.low, width, packed, keys_as_depth, queries, size);
        store_back(plan, first, count, queries, rotation, d_query.at(row, head), d_query.step);
      }
    }
    store_back(plan, 0, shape.length, key_sum, rotation, d_key.at(row, shared), d_key.step);
    store_back(plan, 0, shape.length, value_sum, {}, d_value.at(row, shared), d_value.step);
  });
}

}  // namespace trainyard
