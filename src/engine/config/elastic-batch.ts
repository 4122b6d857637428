/** What fits a number of ranks, so that the global batch stays what it was. */
export interface ElasticBatch {
  readonly train_batch_size: number;
  readonly train_micro_batch_size_per_gpu: number;
  readonly gradient_accumulation_steps: number;
}

/**
 * The same global batch on another number of ranks: micro-batches as large as before if that goes, else smaller, and
 * as many of them as it takes. The global batch is what a run must keep when ranks go (Varuna: Athlur et al., EuroSys 2022).
 *
 * @param dataRanks among which the batch is divided
 * @returns undefined where they cannot have equal shares
 */
export function elasticBatch(
  {
    train_batch_size: rows,
    train_micro_batch_size_per_gpu: micro,
  }: Omit<ElasticBatch, 'gradient_accumulation_steps'>,
  dataRanks: number,
): ElasticBatch | undefined {
  if (!Number.isSafeInteger(dataRanks) || dataRanks < 1 || rows % dataRanks !== 0) return undefined;
  const own = rows / dataRanks;
  const fitting = Array.from({ length: Math.min(micro, own) }, (_, index) => index + 1).filter(
    (size) => own % size === 0,
  );
  const size = fitting.at(-1) ?? 1;
  return {
    train_batch_size: rows,
    train_micro_batch_size_per_gpu: size,
    gradient_accumulation_steps: own / size,
  };
}
