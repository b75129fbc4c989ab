// What a measurement needs in a directory of its own: the floor, and a root with a static `true` in it.
import { chmodSync, mkdirSync } from 'node:fs';
import { buildFloor, buildTrue } from './floor.js';

export function prepare(directory) {
  const rootfs = `${directory}/rootfs`;
  for (const name of ['proc', 'dev', 'sys']) mkdirSync(`${rootfs}/${name}`, { recursive: true });
  chmodSync(directory, 0o755);  // the command of the case `bare` is run by nobody
  const binary = `${directory}/floor`;
  buildFloor(binary);
  buildTrue(`${rootfs}/true`);
  return { directory, rootfs, binary };
}
