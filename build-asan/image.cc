#include "addon/image.hpp"
asm(R"(
  .section .rodata
  .global contained_launcher_start, contained_launcher_end
  .balign 16
contained_launcher_start:
  .incbin "/work/main/build-asan/launcher"
contained_launcher_end:
  .byte 0
  .previous
)");
