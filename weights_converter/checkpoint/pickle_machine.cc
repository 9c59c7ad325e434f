// The machine that a pickle is a program for: a stack, a memo, and one operation per opcode.
#include "weights_converter/checkpoint/pickle_machine.h"

#include <algorithm>
#include <bit>
#include <charconv>

#include "weights_converter/checkpoint/pickle_text.h"

namespace lightcap::internal {
namespace {

constexpr uint64_t kMaxProtocol = 5;

}  // namespace

void PickleMachine::run() {
  while (step()) {
  }
  pickle_.root_ = pop();
  pickle_.size_ = reader_.position();
  number_texts();
}

void PickleMachine::fail(const std::string& what) const {
  fail_checkpoint(std::string(reader_.where()) + " is a damaged pickle: " + what +
                  ", before byte " + std::to_string(origin_ + reader_.position()));
}

// Returns false after STOP.
bool PickleMachine::step() {
  const uint8_t code = reader_.u8("the next opcode (STOP is missing)");
  const Operand kind = kOperands[code];
  if (kind == Operand::kUnknown) fail("opcode " + std::to_string(code) + " is not known");
  read_operand(kind);
  const auto opcode = static_cast<Opcode>(code);
  if (opcode == Opcode::kStop) return false;
  const bool is_done = push_value(opcode) || push_text(opcode) || push_container(opcode) ||
                       use_memo(opcode) || use_class(opcode);
  if (!is_done) operate(opcode);
  return true;
}

void PickleMachine::read_operand(Operand kind) {
  switch (kind) {
    case Operand::kUnknown:
    case Operand::kNone:
      return;
    case Operand::kU8:
      number_ = reader_.u8("a number");
      return;
    case Operand::kU16:
      number_ = reader_.u16("a number");
      return;
    case Operand::kI32:
    case Operand::kU32:
      number_ = reader_.u32("a number");
      return;
    case Operand::kU64:
      number_ = reader_.u64("a number");
      return;
    case Operand::kF64:
      number_ = 0;
      for (const uint8_t byte : reader_.take(8, "a float")) number_ = number_ << 8 | byte;
      return;
    case Operand::kText8:
      text_ = reader_.text(reader_.u8("a size"), "a text");
      return;
    case Operand::kText32:
      text_ = reader_.text(reader_.u32("a size"), "a text");
      return;
    case Operand::kText64:
      text_ = reader_.text(reader_.u64("a size"), "a text");
      return;
    case Operand::kLine:
      text_ = reader_.line("a line");
      return;
    case Operand::kTwoLines:
      text_ = reader_.line("a module's name");
      second_ = reader_.line("a class's name");
      return;
  }
}

// --- values that stand in the pickle as they are ---

bool PickleMachine::push_value(Opcode opcode) {
  switch (opcode) {
    case Opcode::kNone:
      push(constant(none_, NodeKind::kNone));
      return true;
    case Opcode::kNewTrue:
      push(constant(true_, NodeKind::kBool, 1));
      return true;
    case Opcode::kNewFalse:
      push(constant(false_, NodeKind::kBool));
      return true;
    case Opcode::kBinInt1:
      push(constant(small_ints_[number_], NodeKind::kInt, static_cast<int64_t>(number_)));
      return true;
    case Opcode::kBinInt2:
      push(make_int(static_cast<int64_t>(number_)));
      return true;
    case Opcode::kBinInt:
      push(make_int(static_cast<int32_t>(number_)));
      return true;
    case Opcode::kLong1:
    case Opcode::kLong4:
      push(long_bytes());
      return true;
    case Opcode::kInt:
      if (text_ == "00" || text_ == "01") {
        push(text_ == "01" ? constant(true_, NodeKind::kBool, 1)
                           : constant(false_, NodeKind::kBool));
        return true;
      }
      [[fallthrough]];
    case Opcode::kLong:
      push(decimal_int());
      return true;
    case Opcode::kBinFloat:
      push(make_float(std::bit_cast<double>(number_)));
      return true;
    case Opcode::kFloat:
      push(decimal_float());
      return true;
    default:
      return false;
  }
}

bool PickleMachine::push_text(Opcode opcode) {
  switch (opcode) {
    // Python 2's str: text to us, who only compare names.
    case Opcode::kBinString:
    case Opcode::kShortBinString:
    case Opcode::kBinUnicode:
    case Opcode::kShortBinUnicode:
    case Opcode::kBinUnicode8:
      push(make_text(NodeKind::kString, text_));
      return true;
    case Opcode::kBinBytes:
    case Opcode::kShortBinBytes:
    case Opcode::kBinBytes8:
    case Opcode::kByteArray8:
      push(make_text(NodeKind::kBytes, text_));
      return true;
    case Opcode::kString:
      if (text_.size() < 2 || text_.front() != text_.back()) fail("a text lacks its quotes");
      text_ = text_.substr(1, text_.size() - 2);
      [[fallthrough]];
    case Opcode::kUnicode:
      pickle_.budget_.charge(text_.size());
      push(make_text(NodeKind::kString, keep(unescape(text_))));
      return true;
    default:
      return false;
  }
}

NodeId PickleMachine::decimal_int() {
  if (text_.ends_with('L')) text_.remove_suffix(1);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text_.data(), text_.data() + text_.size(), value);
  if (end != text_.data() + text_.size() || text_.empty()) {
    fail("'" + excerpt(text_) + "' is not a number");
  }
  if (error == std::errc::result_out_of_range) return make_text(NodeKind::kBigInt, text_);
  return make_int(value);
}

NodeId PickleMachine::decimal_float() {
  double value = 0;
  const auto [end, error] = std::from_chars(text_.data(), text_.data() + text_.size(), value);
  if (end != text_.data() + text_.size() || text_.empty()) {
    fail("'" + excerpt(text_) + "' is not a number");
  }
  return make_float(value);
}

NodeId PickleMachine::long_bytes() {
  if (text_.size() > 8) return make_text(NodeKind::kBigInt, text_);
  uint64_t value = 0;
  for (size_t i = 0; i < text_.size(); ++i) {
    value |= static_cast<uint64_t>(static_cast<uint8_t>(text_[i])) << (8 * i);
  }
  const size_t bits = 8 * text_.size();
  const bool negative = bits > 0 && (value >> (bits - 1) & 1) != 0;
  if (negative && bits < 64) value |= ~uint64_t{0} << bits;
  return make_int(static_cast<int64_t>(value));
}

// --- containers ---

bool PickleMachine::push_container(Opcode opcode) {
  switch (opcode) {
    case Opcode::kEmptyTuple:
      push(constant(empty_tuple_, NodeKind::kTuple));
      return true;
    case Opcode::kTuple1:
      push_list(NodeKind::kTuple, pop_some(1));
      return true;
    case Opcode::kTuple2:
      push_list(NodeKind::kTuple, pop_some(2));
      return true;
    case Opcode::kTuple3:
      push_list(NodeKind::kTuple, pop_some(3));
      return true;
    case Opcode::kTuple:
      push_list(NodeKind::kTuple, pop_to_mark());
      return true;
    case Opcode::kEmptyList:
      push(make(NodeKind::kList));
      return true;
    case Opcode::kList:
      push_list(NodeKind::kList, pop_to_mark());
      return true;
    case Opcode::kEmptyDict:
      push(make(NodeKind::kDict));
      return true;
    case Opcode::kDict: {
      const Values values = pop_to_mark();
      if (values.size() % 2 != 0) fail("a key has no value");
      push_list(NodeKind::kDict, values);
      return true;
    }
    case Opcode::kEmptySet:
      push(make(NodeKind::kSet));
      return true;
    case Opcode::kFrozenSet:
      push_list(NodeKind::kSet, pop_to_mark());
      return true;
    case Opcode::kAppend:
      append_to_top(pop_some(1), NodeKind::kList, "APPEND");
      return true;
    case Opcode::kAppends:
      append_to_top(pop_to_mark(), NodeKind::kList, "APPENDS");
      return true;
    case Opcode::kSetItem:
      append_to_top(pop_some(2), NodeKind::kDict, "SETITEM");
      return true;
    case Opcode::kSetItems:
      append_to_top(pop_to_mark(), NodeKind::kDict, "SETITEMS");
      return true;
    case Opcode::kAddItems:
      append_to_top(pop_to_mark(), NodeKind::kSet, "ADDITEMS");
      return true;
    default:
      return false;
  }
}

void PickleMachine::append_to_top(Values values, NodeKind kind, const char* what) {
  const NodeId target = top();
  Node& node = pickle_.nodes_[target];
  if (node.kind != kind && node.kind != NodeKind::kObject) {
    fail(std::string(what) + " is applied to something else");
  }
  if (kind == NodeKind::kDict && values.size() % 2 != 0) fail("a key has no value");
  if (node.kind == NodeKind::kObject && kind == NodeKind::kDict && !values.empty()) {
    node.keyed = true;
  }
  append(target, values);
}

// --- the memo ---

bool PickleMachine::use_memo(Opcode opcode) {
  switch (opcode) {
    case Opcode::kGet:
      get(decimal_index());
      return true;
    case Opcode::kBinGet:
    case Opcode::kLongBinGet:
      get(number_);
      return true;
    case Opcode::kPut:
      put(decimal_index());
      return true;
    case Opcode::kBinPut:
    case Opcode::kLongBinPut:
      put(number_);
      return true;
    case Opcode::kMemoize:
      put(memo_next_);
      return true;
    default:
      return false;
  }
}

uint64_t PickleMachine::decimal_index() const {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text_.data(), text_.data() + text_.size(), value);
  if (error != std::errc() || end != text_.data() + text_.size()) {
    fail("'" + excerpt(text_) + "' is not a number");
  }
  return value;
}

void PickleMachine::put(uint64_t index) {
  // Picklers number from 0 or 1 without gaps, and each number costs two bytes at least.
  if (index > reader_.position()) fail("memo number " + std::to_string(index) + " is absurd");
  if (index >= memo_.size()) grow(memo_, index + 1, kNoNode);
  memo_[index] = top();
  memo_next_ = std::max<uint64_t>(memo_next_, index + 1);
}

void PickleMachine::get(uint64_t index) {
  if (index >= memo_.size() || memo_[index] == kNoNode) {
    fail("memo number " + std::to_string(index) + " is read but was never set");
  }
  push(memo_[index]);
}

// --- names and objects ---

bool PickleMachine::use_class(Opcode opcode) {
  switch (opcode) {
    case Opcode::kGlobal:
      push(make_global(text_, second_));
      return true;
    case Opcode::kStackGlobal:
      stack_global();
      return true;
    case Opcode::kPersId:
      push(make_persistent(make_text(NodeKind::kString, text_)));
      return true;
    case Opcode::kBinPersId:
      push(make_persistent(pop()));
      return true;
    case Opcode::kReduce:
    case Opcode::kNewObj:
      call(pop());
      return true;
    case Opcode::kNewObjEx:  // its keyword arguments are of no use: torch's classes have none
      pop();
      call(pop());
      return true;
    case Opcode::kInst: {  // a class by name, arguments from the mark
      const NodeId callable = make_global(text_, second_);
      push(make_object(callable, make_list(NodeKind::kTuple, pop_to_mark())));
      return true;
    }
    case Opcode::kObj: {  // class and arguments from the mark
      const Values values = pop_to_mark();
      if (values.empty()) fail("OBJ has no class");
      push(make_object(values.front(), make_list(NodeKind::kTuple, values.subspan(1))));
      return true;
    }
    case Opcode::kBuild:
      build();
      return true;
    default:
      return false;
  }
}

// --- the stack ---

void PickleMachine::operate(Opcode opcode) {
  switch (opcode) {
    case Opcode::kProto:
      if (number_ > kMaxProtocol) {
        fail("protocol " + std::to_string(number_) + " is not known, expected 0 to " +
             std::to_string(kMaxProtocol));
      }
      return;
    case Opcode::kMark:
      add_to(marks_, stack_.size());
      return;
    case Opcode::kPop:  // a mark, where one is on top
      if (!marks_.empty() && above_mark() == 0) {
        marks_.pop_back();
      } else {
        pop();
      }
      return;
    case Opcode::kPopMark:
      pop_to_mark();
      return;
    case Opcode::kDup:
      push(top());
      return;
    case Opcode::kExt1:
    case Opcode::kExt2:
    case Opcode::kExt4:
      fail("extension codes need a registry that no checkpoint has");
    case Opcode::kNextBuffer:
    case Opcode::kReadOnlyBuffer:
      fail("its buffers are outside of the file");
    default:
      return;  // FRAME: of no use in memory
  }
}

void PickleMachine::call(NodeId arguments) {
  const NodeId callable = pop();
  push(make_object(callable, arguments));
}

void PickleMachine::build() {
  const NodeId state = pop();
  Node& node = pickle_.nodes_[top()];
  if (node.kind != NodeKind::kObject) fail("BUILD is applied to something that is no object");
  node.call.state = state;
}

void PickleMachine::stack_global() {
  const Values names = pop_some(2);
  const Node& module = pickle_.nodes_[names[0]];
  const Node& name = pickle_.nodes_[names[1]];
  if (module.kind != NodeKind::kString || name.kind != NodeKind::kString) {
    fail("STACK_GLOBAL names a class by something that is no text");
  }
  push(make_global(module.text, name.text));
}

PickleMachine::Values PickleMachine::pop_some(size_t count) {
  if (above_mark() < count) fail("the stack is empty where a value is needed");
  const size_t left = stack_.size() - count;
  make_room(popped_, count);
  popped_.assign(stack_.begin() + static_cast<ptrdiff_t>(left), stack_.end());
  stack_.resize(left);
  return popped_;
}

PickleMachine::Values PickleMachine::pop_to_mark() {
  if (marks_.empty()) fail("a MARK is missing");
  const Values values = pop_some(above_mark());
  marks_.pop_back();
  return values;
}

Pickle::Pickle(std::span<const uint8_t> bytes, const char* where, Budget& budget, size_t origin)
    : budget_(budget) {
  PickleMachine(*this, bytes, where, origin).run();
}

}  // namespace lightcap::internal
