import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ChatTemplate } from './chat-template.js';
import { createDeadline } from './deadline.js';

describe('createDeadline', () => {
  const run = createDeadline(200);
  it('stops a regular expression that backtracks without end', () => {
    assert.throws(() => run(() => /^(a+)+$/.test(`${'a'.repeat(60)}b`)), { name: 'DeadlineExceeded' });
  });
  it('stops a loop, and works again afterwards', () => {
    assert.throws(
      () =>
        run(() => {
          for (;;);
        }),
      { name: 'DeadlineExceeded' },
    );
    assert.equal(
      run(() => 5),
      5,
    );
  });
  it('passes errors on', () => {
    assert.throws(
      () =>
        run(() => {
          throw new RangeError('own');
        }),
      RangeError,
    );
  });
});

describe('ChatTemplate', () => {
  const conversation = [
    { role: 'user', content: 'Hi' },
    { role: 'assistant', content: 'Hello.' },
  ];
  const render = (source: string): string =>
    new ChatTemplate(source, { eos_token: '</s>' }).render(conversation, 'a:1');

  it('renders a conversation', () => {
    const source =
      '{% for message in messages %}<|{{ message.role }}|>\n{% generation %}{{ message.content + eos_token }}{% endgeneration %}\n{% endfor %}';
    assert.equal(render(source), '<|user|>\nHi</s><|assistant|>\nHello.</s>');
  });
  it('knows no clock', () => {
    assert.equal(render('{% if strftime_now is defined %}now{% else %}never{% endif %}'), 'never');
  });
  it('names the conversation that a template refuses', () => {
    assert.throws(() => render("{{ raise_exception('roles must alternate') }}"), {
      code: 'DATA_INVALID',
      report: {
        what: 'The chat template does not take these messages.',
        where: 'a:1',
        got: 'roles must alternate',
      },
    });
  });
  it('bounds what a template may count, loop and write', () => {
    assert.throws(() => render('{{ range(10 ** 9) | length }}'), { code: 'DATA_INVALID' });
    assert.throws(() => render('{{ range(0, 5, 0) | length }}'), { code: 'DATA_INVALID' });
    assert.throws(
      () =>
        render(
          '{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}',
        ),
      { code: 'DATA_INVALID' },
    );
    const doubling = `{% set x = 'xxxxxxxxxxxxxxxx' %}${'{% set x = x + x %}'.repeat(24)}{{ x }}`;
    assert.throws(() => render(doubling), { code: 'DATA_INVALID' });
  });
  it('that does not parse is refused', () => {
    assert.throws(() => render('{% for %}'), { code: 'TOKENIZER_INVALID' });
  });
});
