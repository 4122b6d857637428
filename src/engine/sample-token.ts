/**
 * Draws the next token from its logits.
 *
 * @param logits one per token of the vocabulary
 * @param temperature divides the logits: below 1 sharper, above 1 flatter; 0 always takes the likeliest
 * @param random uniform in [0, 1)
 */
export function sampleToken(logits: Float32Array, temperature: number, random: () => number): number {
  const best = likeliest(logits);
  if (temperature === 0) return best;
  const highest = logits[best] ?? 0;
  const weights = Float64Array.from(logits, (logit) => Math.exp((logit - highest) / temperature));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  let left = random() * total;
  for (const [token, weight] of weights.entries()) {
    left -= weight;
    if (left < 0) return token;
  }
  // Rounding may leave a crumb after the last weight.
  return best;
}

function likeliest(logits: Float32Array): number {
  let best = 0;
  for (const [token, logit] of logits.entries()) {
    if (logit > (logits[best] ?? Number.NEGATIVE_INFINITY)) best = token;
  }
  return best;
}

/**
 * A small seeded generator of uniform numbers (mulberry32), for sampling that can be repeated. Training draws
 * from libtorch's generators instead.
 */
export function uniformNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
