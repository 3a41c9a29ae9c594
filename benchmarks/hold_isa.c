// SPDX-License-Identifier: Apache-2.0
// Preloaded into a process, holds all it asks its processor by CPUID to the instruction set that CODEGEMMA_HELD names.
//
// A flag of XLA's holds XLA's own code alone, not the libraries that it calls. Linux can make CPUID a
// fault of the asking thread and of those it starts; here the fault is answered with the processor's
// word less what is held back. Linux on x86-64 with CPUID faulting.
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum Held { kAvx, kAvx2, kAvxVnni, kAvx512 };

static const char* const names[] = {"avx", "avx2", "avxvnni", "avx512"};
static enum Held held;

static long AllowCpuid(int is_allowed) {
  return syscall(SYS_arch_prctl, 0x1012, is_allowed);  // ARCH_SET_CPUID
}

static void Answer(int signal_number, siginfo_t* info, void* context) {
  (void)info;
  greg_t* registers = ((ucontext_t*)context)->uc_mcontext.gregs;
  const unsigned char* code = (const unsigned char*)registers[REG_RIP];
  if (code[0] != 0x0f || code[1] != 0xa2) {  // a true fault
    signal(signal_number, SIG_DFL);
    return;
  }
  const uint32_t leaf = (uint32_t)registers[REG_RAX], part = (uint32_t)registers[REG_RCX];
  uint32_t a = leaf, b, c = part, d;
  AllowCpuid(1);
  __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
  AllowCpuid(0);
  if (leaf == 1 && held == kAvx) c &= ~(1u << 12 | 1u << 29);  // FMA, F16C
  if (leaf == 7 && part == 0) {
    d &= ~(1u << 22 | 1u << 24 | 1u << 25);  // AMX
    if (held < kAvx512) {
      b &= ~(1u << 16 | 1u << 17 | 1u << 21 | 1u << 26 | 1u << 27 | 1u << 28 | 1u << 30 | 1u << 31);
      c &= ~(1u << 1 | 1u << 6 | 1u << 11 | 1u << 12 | 1u << 14);
      d &= ~(1u << 2 | 1u << 3 | 1u << 8 | 1u << 23);
    }
    if (held == kAvx) b &= ~(1u << 5);  // AVX2
  }
  if (leaf == 7 && part == 1) {
    a &= held == kAvxVnni ? 1u << 4 : held == kAvx512 ? 1u << 4 | 1u << 5 : 0;  // AVX-VNNI, bfloat16
    b = c = d = 0;
  }
  if (leaf == 0x1d || leaf == 0x1e || leaf == 0x24) a = b = c = d = 0;  // tiles, AVX10
  registers[REG_RAX] = a, registers[REG_RBX] = b, registers[REG_RCX] = c, registers[REG_RDX] = d;
  registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void Hold(void) {
  const char* wanted = getenv("CODEGEMMA_HELD");
  if (wanted == NULL) return;
  int is_known = 0;
  for (size_t i = 0; i < sizeof names / sizeof *names; ++i) {
    if (strcmp(wanted, names[i]) == 0) held = (enum Held)i, is_known = 1;
  }
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = Answer;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  if (!is_known || sigaction(SIGSEGV, &action, NULL) != 0 || AllowCpuid(0) != 0) {
    fprintf(stderr, "CODEGEMMA_HELD=%s: unknown, or this system cannot hold CPUID\n", wanted);
    _exit(3);
  }
}
