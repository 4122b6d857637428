// The row-wise loops of attention: copies with rotation, softmax and its gradient.
#pragma once

#include <cstdint>

namespace trainyard {

// Copies `count` rows of `size` values, turning each by its position's angles (half against half, as in Hugging Face's
// Llama). `cosines` may be null; a `direction` of -1 turns back.
void turn_rows(int64_t count, int64_t size, const float* source, int64_t source_step, const float* cosines,
               const float* sines, float direction, float* target, int64_t target_step);

// Which columns a row of scores counts: those before its own position, as far as the window reaches.
struct RowRange {
  int64_t first_position;  // of the first row
  int64_t low;             // of the first column
  int64_t high;            // beyond the last column
  int64_t window;
};

// Scores become exponentials, zero outside the range; their row sums are returned inverted and as logarithms.
void softmax_rows(int64_t count, RowRange range, float scale, float* scores, float* inverse_sums, float* log_sums);

// scores: the probabilities, from the logarithms of the sums; d_scores: from the gradient of the probabilities to that
// of the scores, scale included. `inner` holds d_out . out of each row.
void softmax_gradient_rows(int64_t count, RowRange range, float scale, const float* log_sums, const float* inner,
                           float* scores, float* d_scores);

void scale_rows(int64_t count, int64_t size, const float* factors, float* rows, int64_t step);

void dot_rows(int64_t count, int64_t size, const float* a, int64_t a_step, const float* b, int64_t b_step, float* out);

}  // namespace trainyard
