#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { ContainedError } from '../errors.js';
import { TABLE } from './commands.js';
import { dispatch } from './dispatch.js';
import { OWN_ERROR } from './exit.js';
import { note } from './note.js';
import { print } from './output.js';
import { UsageError } from './values.js';

function version(): number {
  const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8');
  print((JSON.parse(text) as { version: string }).version);
  return 0;
}

try {
  const words = process.argv.slice(2);
  // Not process.exit: what was printed to a pipe may not have left yet.
  process.exitCode = words[0] === '--version' ? version() : await dispatch(TABLE, words);
} catch (error) {
  const expected = error instanceof UsageError || error instanceof ContainedError;
  note(expected ? error.message : String((error as Error).stack ?? error));
  process.exitCode = OWN_ERROR;
}
