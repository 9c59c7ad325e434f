// The operations of Python's pickle machine, protocols 0 to 5, by the names that Python's
// pickletools gives them.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_PICKLE_OPCODES_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_PICKLE_OPCODES_H_

#include <array>
#include <cstdint>

namespace lightcap::internal {

enum class Opcode : uint8_t {
  kMark = '(',
  kStop = '.',
  kPop = '0',
  kPopMark = '1',
  kDup = '2',
  kBinBytes = 'B',
  kShortBinBytes = 'C',
  kFloat = 'F',
  kBinFloat = 'G',
  kInt = 'I',
  kBinInt = 'J',
  kBinInt1 = 'K',
  kLong = 'L',
  kBinInt2 = 'M',
  kNone = 'N',
  kPersId = 'P',
  kBinPersId = 'Q',
  kReduce = 'R',
  kString = 'S',
  kBinString = 'T',
  kShortBinString = 'U',
  kUnicode = 'V',
  kBinUnicode = 'X',
  kAppend = 'a',
  kBuild = 'b',
  kGlobal = 'c',
  kDict = 'd',
  kAppends = 'e',
  kGet = 'g',
  kBinGet = 'h',
  kInst = 'i',
  kLongBinGet = 'j',
  kList = 'l',
  kObj = 'o',
  kPut = 'p',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kSetItem = 's',
  kTuple = 't',
  kSetItems = 'u',
  kEmptyTuple = ')',
  kEmptyList = ']',
  kEmptyDict = '}',
  kProto = 0x80,
  kNewObj = 0x81,
  kExt1 = 0x82,
  kExt2 = 0x83,
  kExt4 = 0x84,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kLong1 = 0x8a,
  kLong4 = 0x8b,
  kShortBinUnicode = 0x8c,
  kBinUnicode8 = 0x8d,
  kBinBytes8 = 0x8e,
  kEmptySet = 0x8f,
  kAddItems = 0x90,
  kFrozenSet = 0x91,
  kNewObjEx = 0x92,
  kStackGlobal = 0x93,
  kMemoize = 0x94,
  kFrame = 0x95,
  kByteArray8 = 0x96,
  kNextBuffer = 0x97,
  kReadOnlyBuffer = 0x98,
};

// The kind of operand behind an opcode. Numbers are little-endian but for the float.
enum class Operand : uint8_t {
  kUnknown,  // the byte is no opcode
  kNone,
  kU8,
  kU16,
  kI32,
  kU32,
  kU64,
  kF64,     // big-endian
  kText8,   // a text behind its size of 8 bits
  kText32,  // of 32
  kText64,  // of 64
  kLine,    // a text up to a newline
  kTwoLines,
};

// By opcode.
constexpr std::array<Operand, 256> make_operands() {
  std::array<Operand, 256> operands{};
  const auto set = [&operands](Operand operand, auto... opcodes) {
    ((operands[static_cast<uint8_t>(opcodes)] = operand), ...);
  };
  using enum Opcode;
  set(Operand::kNone, kMark, kStop, kPop, kPopMark, kDup, kNone, kBinPersId, kReduce, kAppend,
      kBuild, kDict, kAppends, kList, kObj, kSetItem, kTuple, kSetItems, kEmptyTuple, kEmptyList,
      kEmptyDict, kNewObj, kTuple1, kTuple2, kTuple3, kNewTrue, kNewFalse, kEmptySet, kAddItems,
      kFrozenSet, kNewObjEx, kStackGlobal, kMemoize, kNextBuffer, kReadOnlyBuffer);
  set(Operand::kU8, kBinInt1, kBinGet, kBinPut, kProto, kExt1);
  set(Operand::kU16, kBinInt2, kExt2);
  set(Operand::kI32, kBinInt);
  set(Operand::kU32, kLongBinGet, kLongBinPut, kExt4);
  set(Operand::kU64, kFrame);
  set(Operand::kF64, kBinFloat);
  set(Operand::kText8, kShortBinBytes, kShortBinString, kShortBinUnicode, kLong1);
  set(Operand::kText32, kBinBytes, kBinString, kBinUnicode, kLong4);
  set(Operand::kText64, kBinUnicode8, kBinBytes8, kByteArray8);
  set(Operand::kLine, kFloat, kInt, kLong, kPersId, kString, kUnicode, kGet, kPut);
  set(Operand::kTwoLines, kGlobal, kInst);
  return operands;
}
inline constexpr std::array<Operand, 256> kOperands = make_operands();

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_PICKLE_OPCODES_H_
