/** The one source file that reads the process environment; everybody else asks it. */
const READER = 'src/base/env.ts';

const COMMENT = /^\s*(\/\/|\/\*|\*)/;

/**
 * The environment is read in one place, so that what a run depends on can be listed. Tests may prepare it.
 *
 * @param {readonly import('./modules.mjs').Module[]} modules
 * @returns {string[]}
 */
export function checkEnvironmentAccess(modules) {
  return modules
    .filter(({ path }) => path.startsWith('src/') && path !== READER && !path.endsWith('.test.ts'))
    .flatMap(({ path, text }) =>
      text
        .split('\n')
        .flatMap((line, index) =>
          !COMMENT.test(line) && /\bprocess\.env\b/.test(line)
            ? [`${path}:${index + 1}: reads process.env; use ${READER}`]
            : [],
        ),
    );
}
