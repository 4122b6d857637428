#include "attention_rows.h"

#include <algorithm>

#include "simd.h"

namespace trainyard {

TRAINYARD_CLONES void turn_rows(int64_t count, int64_t size, const float* source, int64_t source_step,
                                const float* cosines, const float* sines, float direction, float* target,
                                int64_t target_step) {
  const int64_t half = size / 2;
  for (int64_t row = 0; row < count; ++row) {
    const float* from = source + row * source_step;
    float* to = target + row * target_step;
    if (cosines == nullptr) {
      std::copy(from, from + size, to);
      continue;
    }
    for (int64_t i = 0; i < half; i += lanes) {
      const int64_t left = half - i;
      const Floats first = load_part(from + i, left);
      const Floats second = load_part(from + half + i, left);
      const Floats cosine = load_part(cosines + row * half + i, left);
      const Floats sine = load_part(sines + row * half + i, left) * direction;
      store_part(to + i, first * cosine - second * sine, left);
      store_part(to + half + i, second * cosine + first * sine, left);
    }
  }
}

namespace {

struct Columns {
  int64_t begin;
  int64_t end;
};

TRAINYARD_INLINE Columns seen(const RowRange& range, int64_t row) {
  const int64_t position = range.first_position + row;
  return {std::max<int64_t>(0, position - range.window + 1 - range.low), position + 1 - range.low};
}

TRAINYARD_INLINE void zero(float* values, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) values[i] = 0;
}

}  // namespace

TRAINYARD_CLONES void softmax_rows(int64_t count, RowRange range, float scale, float* scores, float* inverse_sums,
                                   float* log_sums) {
  const int64_t width = range.high - range.low;
  for (int64_t row = 0; row < count; ++row) {
    float* values = scores + row * width;
    const Columns columns = seen(range, row);
    float largest = values[columns.begin];
    if (columns.end - columns.begin >= lanes) {
      Floats most = load(values + columns.end - lanes);
      for (int64_t i = columns.begin; i + lanes <= columns.end; i += lanes) most = maximum(most, load(values + i));
      for (int64_t lane = 0; lane < lanes; ++lane) largest = std::max(largest, most[lane]);
    } else {
      for (int64_t i = columns.begin; i < columns.end; ++i) largest = std::max(largest, values[i]);
    }
    largest *= scale;
    Floats totals{};
    for (int64_t i = columns.begin; i < columns.end; i += lanes) {
      const int64_t left = columns.end - i;
      Floats value = exponential(load_part(values + i, left) * scale - largest);
      if (left < lanes) {
        for (int64_t lane = left; lane < lanes; ++lane) value[lane] = 0;
      }
      totals += value;
      store_part(values + i, value, left);
    }
    zero(values, 0, columns.begin);
    zero(values, columns.end, width);
    const float total = sum(totals);
    inverse_sums[row] = 1.0F / total;
    log_sums[row] = largest + std::log(total);
  }
}

TRAINYARD_CLONES void softmax_gradient_rows(int64_t count, RowRange range, float scale, const float* log_sums,
                                            const float* inner, float* scores, float* d_scores) {
  const int64_t width = range.high - range.low;
  for (int64_t row = 0; row < count; ++row) {
    float* values = scores + row * width;
    float* gradients = d_scores + row * width;
    const Columns columns = seen(range, row);
    for (int64_t i = columns.begin; i < columns.end; i += lanes) {
      const int64_t left = columns.end - i;
      const Floats probability = exponential(load_part(values + i, left) * scale - log_sums[row]);
      store_part(values + i, probability, left);
      store_part(gradients + i, probability * (load_part(gradients + i, left) - inner[row]) * scale, left);
    }
    zero(values, 0, columns.begin);
    zero(values, columns.end, width);
    zero(gradients, 0, columns.begin);
    zero(gradients, columns.end, width);
  }
}

TRAINYARD_CLONES void scale_rows(int64_t count, int64_t size, const float* factors, float* rows, int64_t step) {
  for (int64_t row = 0; row < count; ++row) {
    for (int64_t i = 0; i < size; i += lanes) {
      store_part(rows + row * step + i, load_part(rows + row * step + i, size - i) * factors[row], size - i);
    }
  }
}

TRAINYARD_CLONES void dot_rows(int64_t count, int64_t size, const float* a, int64_t a_step, const float* b,
                               int64_t b_step, float* out) {
  for (int64_t row = 0; row < count; ++row) {
    Floats total{};
    for (int64_t i = 0; i < size; i += lanes) {
      total += load_part(a + row * a_step + i, size - i) * load_part(b + row * b_step + i, size - i);
    }
    out[row] = sum(total);
  }
}

}  // namespace trainyard
