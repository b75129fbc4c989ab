#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { ContainedError, explain, OptionError, probe, sweep } from '../index.js';
import { didYouMean } from '../options/check.js';
import { stdioOf } from './capture.js';
import { cgroupCommand, cgroupHelp } from './cgroup.js';
import { checkTogether, RUN_GRAMMAR } from './flags.js';
import { open } from './groups.js';
import { COMMANDS, helpOn, type CommandName } from './help.js';
import { withSwap } from './limits.js';
import { note } from './note.js';
import { print } from './output.js';
import { flagError, parse } from './parse.js';
import { errorCode, OWN_ERROR, runCommand } from './run.js';
import { UsageError } from './values.js';
import { probeTable, sweepJson, sweepList } from './words.js';

function version(): string {
  const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

/** `run` and `explain` take the same words. */
async function withFlags(name: 'run' | 'explain', args: readonly string[]): Promise<number> {
  const { given, words, help, used } = parse(args, RUN_GRAMMAR);
  if (help) {
    print(helpOn(name));
    return 0;
  }
  checkTogether(used);
  if (words.length === 0) throw new UsageError(`no command given, as in \`contained ${name} -- sh\``);
  try {
    const { stats, joined, ...limited } = withSwap(given);
    if (joined !== undefined && limited.cgroup) throw new UsageError('--cgroup: a group that is there has its limits, see `contained cgroup set`');
    const options = joined === undefined ? limited : { ...limited, cgroup: await open(joined) };
    if (name === 'run') return await runCommand(options, words, stats);
    print(String(explain(words[0]!, words.slice(1), { ...options, stdio: stdioOf(options) })));
    return 0;
  } catch (error) {
    throw error instanceof OptionError ? flagError(error, used) : error;
  }
}

/** `probe` and `sweep` take --json and nothing else. */
async function withJson(name: 'probe' | 'sweep', args: readonly string[]): Promise<number> {
  const options = { json: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } } as const;
  const { values, tokens } = parseArgs({ args: [...args], options, strict: false, allowPositionals: true, tokens: true });
  for (const token of tokens) {
    if (token.kind === 'option' && Object.hasOwn(options, token.name)) continue;
    const word = token.kind === 'option' ? token.rawName : token.kind === 'positional' ? token.value : '--';
    throw new UsageError(`${name} takes no ${word}${didYouMean(word, ['--json', '--help'])}`);
  }
  if (values.help) {
    print(helpOn(name));
    return 0;
  }
  const json = (value: object): string => JSON.stringify(value, undefined, 2);
  if (name === 'probe') {
    const report = await probe();
    print(values.json ? json(report) : probeTable(report));
    return report.abilities.some(({ name: ability, available }) => ability === 'a full container' && available) ? 0 : 1;
  }
  const report = await sweep();
  print(values.json ? json(sweepJson(report)) : sweepList(report));
  return report.failed.length === 0 ? 0 : 1;
}

function commandNamed(word: string): CommandName {
  const found = COMMANDS.find(name => name === word);
  if (found === undefined) throw new UsageError(`no command ${JSON.stringify(word)}${didYouMean(word, COMMANDS) || '; see `contained help`'}`);
  return found;
}

async function main([word, ...args]: readonly string[]): Promise<number> {
  switch (word) {
    case undefined:
      throw new UsageError('no command given; see `contained help`');
    case '--version':
      print(version());
      return 0;
    case '-h': case '--help':
      print(helpOn('help'));
      return 0;
  }
  const name = commandNamed(word);
  switch (name) {
    case 'run': case 'explain':
      return withFlags(name, args);
    case 'probe': case 'sweep':
      return withJson(name, args);
    case 'cgroup':
      return cgroupCommand(args);
    case 'help': {
      const about = args[0] === undefined ? 'help' : commandNamed(args[0]);
      print(about === 'cgroup' ? cgroupHelp(args[1]) : helpOn(about));
      return 0;
    }
  }
}

try {
  // Not process.exit: what was printed to a pipe may not have left yet.
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  const expected = error instanceof UsageError || error instanceof ContainedError;
  note(expected ? error.message : String((error as Error).stack ?? error));
  process.exitCode = error instanceof UsageError ? OWN_ERROR : errorCode(error);
}
