"""Every opcode of protocols 0 to 5, by what it makes: numbers, texts, containers, calls, and the stack beneath them."""

from weightfeat.checkpoint.opcodes import calls, containers, numbers, stack, texts
from weightfeat.checkpoint.opcodes.registry import OPERATIONS

__all__ = ["OPERATIONS", "calls", "containers", "numbers", "stack", "texts"]
