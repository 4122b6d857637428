/**
 * The entropy of the ids' own frequencies, in nats a token: the loss of a model that has learnt how often each
 * token occurs and nothing else. A trained model has to be well below.
 */
export function unigramEntropy(ids: Uint16Array | Uint32Array | Int32Array): number {
  const counts = new Map<number, number>();
  for (const id of ids) counts.set(id, (counts.get(id) ?? 0) + 1);
  let entropy = 0;
  for (const count of counts.values()) {
    const share = count / ids.length;
    entropy -= share * Math.log(share);
  }
  return entropy;
}
