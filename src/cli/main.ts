#!/usr/bin/env node
/** The command line: reads the arguments, runs one command, prints its error if it has one. */
import { CommanderError } from 'commander';
import { createProgram } from './program.js';

// A reader that goes away (`| head`) is no failure; a command that minds asks for itself.
process.stdout.on('error', () => undefined);

try {
  await createProgram().parseAsync();
} catch (error) {
  process.exitCode = error instanceof CommanderError ? await answerUsage(error) : await answerFailure(error);
}

/** Help and version have been printed already; without a command, so has the help, as an answer to a mistake. */
async function answerUsage(error: CommanderError): Promise<number> {
  if (error.exitCode === 0) return 0;
  if (error.code === 'commander.help') return 2;
  const { usageError } = await import('./usage-error.js');
  return answerFailure(usageError(error));
}

async function answerFailure(error: unknown): Promise<number> {
  const { printError } = await import('./print-error.js');
  return printError(error);
}
