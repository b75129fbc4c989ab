// node embed.cjs LAUNCHER OUT: writes a C++ source that carries the file LAUNCHER as bytes of read-only data.
const {writeFileSync} = require('node:fs');
const {resolve} = require('node:path');
const [launcher, out] = process.argv.slice(2);
writeFileSync(out, `#include "addon/image.hpp"
asm(R"(
  .section .rodata
  .global contained_launcher_start, contained_launcher_end
  .balign 16
contained_launcher_start:
  .incbin "${resolve(launcher)}"
contained_launcher_end:
  .byte 0
  .previous
)");
`);
