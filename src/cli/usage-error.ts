import type { CommanderError } from 'commander';
import { TrainyardError } from '../base/errors.js';

/** What commander says of a wrong command line, as one of our errors: its suggestion becomes the cure. */
export function usageError({ message }: CommanderError): TrainyardError {
  const [said = '', suggestion] = message.replace(/^error: /, '').split(/\s*\(Did you mean /);
  return new TrainyardError('USAGE', {
    what: `${said.charAt(0).toUpperCase()}${said.slice(1).replace(/\.$/, '')}.`,
    cure: suggestion === undefined ? 'see --help' : `did you mean ${suggestion.replace(/\?\)$/, '')}?`,
  });
}
