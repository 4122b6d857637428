/** Whether a path pattern holds any of the wildcards that `globToRegExp` understands. */
export function isGlob(path: string): boolean {
  return /[*?[\]{}]/.test(path);
}

/**
 * Compiles a shell-style pattern over `/`-separated relative paths.
 *
 * `*` and `?` stay inside one segment, `**` as a whole segment spans any number of them, `[a-z]` and `[!a-z]`
 * are classes, `{a,b}` alternatives (not nested). A wildcard at the start of a segment does not match a dot,
 * as in a shell.
 */
export function globToRegExp(pattern: string): RegExp {
  const segments = pattern.split('/');
  let source = '';
  segments.forEach((segment, position) => {
    const last = position === segments.length - 1;
    if (segment === '**') source += last ? '(?:(?!\\.)[^/]+/)*(?!\\.)[^/]+' : '(?:(?!\\.)[^/]+/)*';
    else source += segmentSource(segment) + (last ? '' : '/');
  });
  return new RegExp(`^${source}$`, 'u');
}

function segmentSource(segment: string): string {
  let source = /^[*?[]/.test(segment) ? '(?!\\.)' : '';
  let alternatives = false;
  for (let position = 0; position < segment.length; position++) {
    const character = segment.charAt(position);
    const classEnd = character === '[' ? segment.indexOf(']', position + 2) : -1;
    if (classEnd > 0) {
      source += classSource(segment.slice(position + 1, classEnd));
      position = classEnd;
    } else if (character === '*') {
      // A run of stars means one: several in a row would only make the match slower.
      while (segment.charAt(position + 1) === '*') position++;
      source += '[^/]*';
    } else if (character === '?') source += '[^/]';
    else if (character === '{' && segment.includes('}', position)) {
      source += '(?:';
      alternatives = true;
    } else if (character === ',' && alternatives) source += '|';
    else if (character === '}' && alternatives) {
      source += ')';
      alternatives = false;
    } else source += escapeLiteral(character);
  }
  return source;
}

function classSource(body: string): string {
  const negated = body.startsWith('!') || body.startsWith('^');
  const members = (negated ? body.slice(1) : body).replace(/[\\\]^[&~|]/g, '\\$&');
  return negated ? `[^/${members}]` : `[${members}]`;
}

function escapeLiteral(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
}

/** The leading folder of a pattern that holds no wildcard: where a walk has to start. `''` when there is none. */
export function globRoot(pattern: string): string {
  const segments = pattern.split('/');
  const firstWild = segments.findIndex(isGlob);
  return segments.slice(0, firstWild === -1 ? segments.length - 1 : firstWild).join('/');
}
