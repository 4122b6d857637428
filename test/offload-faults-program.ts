import { createHash } from 'node:crypto';
import { initialize, type UserConfig } from '../src/index.js';

// Trains with training state in files, saves after every second step, and says after each step how far it is: to be
// killed at any moment and started again. Its arguments are CONFIG STEPS [FOLDER], without FOLDER nothing is saved.
const [configText = '{}', steps = '0', checkpoints] = process.argv.slice(2);
const engine = initialize({ config: JSON.parse(configText) as UserConfig });
if (checkpoints !== undefined) engine.load(checkpoints);
while (engine.steps < Number(steps)) {
  const inputIds = Array.from({ length: 4 }, (_, row) =>
    Array.from({ length: 12 }, (_, i) => (row * 11 + i * 5 + engine.steps) % 37),
  );
  engine.trainBatch({ inputIds });
  if (checkpoints !== undefined && engine.steps % 2 === 0) engine.save(checkpoints);
  process.stdout.write(`step ${engine.steps}\n`);
}
const hash = createHash('sha256');
for (const name of engine.parameterNames) {
  engine.gathered([name], (tensors) => void hash.update(tensors.get(name)?.toBytes() ?? ''));
}
engine.close();
process.stdout.write(`weights ${hash.digest('hex')}\n`);
