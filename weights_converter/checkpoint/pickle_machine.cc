// The machine that a pickle is a program for: a stack, a memo, and one operation per opcode.
#include <bit>
#include <charconv>
#include <limits>

#include "weights_converter/checkpoint/byte_reader.h"
#include "weights_converter/checkpoint/pickle.h"
#include "weights_converter/checkpoint/pickle_text.h"

namespace lightcap {
namespace {

// Real checkpoints have some ten thousand nodes; this many take about 1 GB.
constexpr size_t kMaxNodes = size_t{1} << 24;
constexpr int kMaxProtocol = 5;

}  // namespace

class PickleMachine {
 public:
  PickleMachine(Pickle& pickle, std::span<const uint8_t> bytes, const char* where, size_t origin)
      : pickle_(pickle), reader_(bytes, where, origin), origin_(origin) {
    pickle_.lists_.emplace_back();
  }

  void run() {
    while (step(reader_.u8("the next opcode (STOP is missing)"))) {
    }
    pickle_.root_ = pop();
    pickle_.size_ = reader_.position();
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    fail_checkpoint(std::string(reader_.where()) + " is a damaged pickle: " + what +
                    ", before byte " + std::to_string(origin_ + reader_.position()));
  }

  // --- nodes ---

  NodeId add(Node node) {
    if (pickle_.nodes_.size() >= kMaxNodes) {
      fail("it holds more than " + std::to_string(kMaxNodes) + " values");
    }
    pickle_.nodes_.push_back(node);
    return static_cast<NodeId>(pickle_.nodes_.size() - 1);
  }
  NodeId make(NodeKind kind, std::string_view text = {}) {
    Node node;
    node.kind = kind;
    node.text = text;
    return add(node);
  }
  NodeId make_int(int64_t value, NodeKind kind = NodeKind::kInt) {
    Node node;
    node.kind = kind;
    node.integer = value;
    return add(node);
  }
  NodeId make_float(double value) {
    Node node;
    node.kind = NodeKind::kFloat;
    node.real = value;
    return add(node);
  }
  // None, True, False, (): values that cannot change need only one node each.
  NodeId constant(NodeId& cached, NodeKind kind, int64_t value = 0) {
    if (cached == kNoNode) cached = make_int(value, kind);
    return cached;
  }
  NodeId make_list(NodeKind kind, std::vector<NodeId> items) {
    const NodeId id = make(kind);
    append(id, items);
    return id;
  }
  void append(NodeId id, std::span<const NodeId> more) {
    if (more.empty()) return;
    Node& node = pickle_.nodes_[id];
    if (node.items == 0) {
      node.items = static_cast<uint32_t>(pickle_.lists_.size());
      pickle_.lists_.emplace_back();
    }
    auto& list = pickle_.lists_[node.items];
    list.insert(list.end(), more.begin(), more.end());
  }
  std::string_view keep(std::string text) { return pickle_.texts_.emplace_back(std::move(text)); }
  NodeId make_global(std::string_view module, std::string_view name) {
    // Python 2's name of the same module.
    if (module == "__builtin__") module = "builtins";
    return make(NodeKind::kGlobal, keep(std::string(module) + "." + std::string(name)));
  }
  NodeId make_object(NodeId callable, NodeId arguments) {
    Node node;
    node.kind = NodeKind::kObject;
    node.callable = callable;
    node.arguments = arguments;
    return add(node);
  }

  // --- stack ---

  void push(NodeId id) { stack_.push_back(id); }
  // How many values lie above the last mark.
  size_t above_mark() const { return stack_.size() - (marks_.empty() ? 0 : marks_.back()); }
  NodeId top() const {
    if (above_mark() == 0) fail("the stack is empty where a value is needed");
    return stack_.back();
  }
  NodeId pop() {
    const NodeId id = top();
    stack_.pop_back();
    return id;
  }
  std::vector<NodeId> pop_some(size_t count) {
    if (above_mark() < count) fail("the stack is empty where a value is needed");
    std::vector<NodeId> values(stack_.end() - static_cast<ptrdiff_t>(count), stack_.end());
    stack_.resize(stack_.size() - count);
    return values;
  }
  std::vector<NodeId> pop_to_mark() {
    if (marks_.empty()) fail("a MARK is missing");
    std::vector<NodeId> values = pop_some(above_mark());
    marks_.pop_back();
    return values;
  }

  // --- memo ---

  void put(uint64_t index) {
    // Picklers number from 0 or 1 without gaps, and each number costs two bytes at least.
    if (index > reader_.position()) fail("memo number " + std::to_string(index) + " is absurd");
    if (index >= memo_.size()) memo_.resize(index + 1, kNoNode);
    memo_[index] = top();
    memo_next_ = std::max<uint64_t>(memo_next_, index + 1);
  }
  void get(uint64_t index) {
    if (index >= memo_.size() || memo_[index] == kNoNode) {
      fail("memo number " + std::to_string(index) + " is read but was never set");
    }
    push(memo_[index]);
  }
  uint64_t decimal(std::string_view text) const {
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) {
      fail("'" + printable(text) + "' is not a number");
    }
    return value;
  }

  // --- numbers ---

  NodeId long_bytes(std::string_view text) {
    if (text.size() > 8) return make(NodeKind::kBigInt, text);
    uint64_t value = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      value |= static_cast<uint64_t>(static_cast<uint8_t>(text[i])) << (8 * i);
    }
    const size_t bits = 8 * text.size();
    const bool negative = bits > 0 && (value >> (bits - 1) & 1) != 0;
    if (negative && bits < 64) value |= ~uint64_t{0} << bits;
    return make_int(static_cast<int64_t>(value));
  }
  NodeId decimal_int(std::string_view text) {
    if (!text.empty() && text.back() == 'L') text.remove_suffix(1);
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (end != text.data() + text.size() || text.empty()) {
      fail("'" + printable(text) + "' is not a number");
    }
    if (error == std::errc::result_out_of_range) return make(NodeKind::kBigInt, text);
    return make_int(value);
  }
  NodeId decimal_float(std::string_view text) {
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (end != text.data() + text.size() || text.empty()) {
      fail("'" + printable(text) + "' is not a number");
    }
    return make_float(value);
  }
  NodeId big_endian_float() {
    uint64_t bits = 0;
    for (const uint8_t byte : reader_.take(8, "a float")) bits = bits << 8 | byte;
    return make_float(std::bit_cast<double>(bits));
  }

  // --- operations on what is below the top ---

  void append_to_top(std::span<const NodeId> values, NodeKind kind, const char* what) {
    const NodeKind target = pickle_.nodes_[top()].kind;
    if (target != kind && target != NodeKind::kObject) {
      fail(std::string(what) + " is applied to something else");
    }
    if (kind == NodeKind::kDict && values.size() % 2 != 0) fail("a key has no value");
    if (target == NodeKind::kObject && kind == NodeKind::kDict && !values.empty()) {
      pickle_.nodes_[top()].integer = 1;
    }
    append(top(), values);
  }
  NodeId make_dict(std::vector<NodeId> values) {
    if (values.size() % 2 != 0) fail("a key has no value");
    return make_list(NodeKind::kDict, std::move(values));
  }
  void build() {
    const NodeId state = pop();
    Node& node = pickle_.nodes_[top()];
    if (node.kind != NodeKind::kObject) fail("BUILD is applied to something that is no object");
    node.state = state;
  }
  void call(NodeId arguments) {
    const NodeId callable = pop();
    push(make_object(callable, arguments));
  }
  // NEWOBJ_EX's keyword arguments are of no use here: torch's classes have none.
  void call_with_keywords() {
    pop();
    call(pop());
  }
  void stack_global() {
    const std::vector<NodeId> names = pop_some(2);
    const Node& module = pickle_.nodes_[names[0]];
    const Node& name = pickle_.nodes_[names[1]];
    if (module.kind != NodeKind::kString || name.kind != NodeKind::kString) {
      fail("STACK_GLOBAL names a class by something that is no text");
    }
    push(make_global(module.text, name.text));
  }

  bool step(uint8_t opcode);
  bool step_text(uint8_t opcode);
  bool step_container(uint8_t opcode);

  Pickle& pickle_;
  ByteReader reader_;
  size_t origin_;
  std::vector<NodeId> stack_;
  std::vector<size_t> marks_;  // heights of the stack
  std::vector<NodeId> memo_;
  uint64_t memo_next_ = 0;
  NodeId none_ = kNoNode, true_ = kNoNode, false_ = kNoNode, empty_tuple_ = kNoNode;
};

// Returns false after STOP.
bool PickleMachine::step(uint8_t opcode) {
  switch (opcode) {
    case 0x80: {  // PROTO
      const uint8_t protocol = reader_.u8("the protocol");
      if (protocol > kMaxProtocol) {
        fail("protocol " + std::to_string(protocol) + " is not known, expected 0 to " +
             std::to_string(kMaxProtocol));
      }
      return true;
    }
    case '.':
      return false;
    case 0x95:
      reader_.skip(8, "a frame's size");
      return true;  // FRAME: of no use in memory

    case 'N':
      push(constant(none_, NodeKind::kNone));
      return true;
    case 0x88:
      push(constant(true_, NodeKind::kBool, 1));
      return true;
    case 0x89:
      push(constant(false_, NodeKind::kBool));
      return true;
    case 'J':
      push(make_int(static_cast<int32_t>(reader_.u32("an integer"))));
      return true;
    case 'K':
      push(make_int(reader_.u8("an integer")));
      return true;
    case 'M':
      push(make_int(reader_.u16("an integer")));
      return true;
    case 0x8a:
      push(long_bytes(reader_.text(reader_.u8("a size"), "an integer")));
      return true;
    case 0x8b:
      push(long_bytes(reader_.text(reader_.u32("a size"), "an integer")));
      return true;
    case 'G':
      push(big_endian_float());
      return true;

    case '0':  // POP: a mark, where one is on top
      if (!marks_.empty() && above_mark() == 0) {
        marks_.pop_back();
      } else {
        pop();
      }
      return true;
    case '1':
      pop_to_mark();
      return true;
    case '2':
      push(top());
      return true;
    case '(':
      marks_.push_back(stack_.size());
      return true;

    case 'h':
      get(reader_.u8("a memo number"));
      return true;
    case 'j':
      get(reader_.u32("a memo number"));
      return true;
    case 'g':
      get(decimal(reader_.line("a memo number")));
      return true;
    case 'q':
      put(reader_.u8("a memo number"));
      return true;
    case 'r':
      put(reader_.u32("a memo number"));
      return true;
    case 'p':
      put(decimal(reader_.line("a memo number")));
      return true;
    case 0x94:
      put(memo_next_);
      return true;

    case 'R':
    case 0x81:
      call(pop());
      return true;  // REDUCE, NEWOBJ
    case 0x92:
      call_with_keywords();
      return true;
    case 'b':
      build();
      return true;
    case 'Q': {
      Node node;
      node.kind = NodeKind::kPersistent;
      node.arguments = pop();
      push(add(node));
      return true;
    }
    default:
      return step_text(opcode);
  }
}

// Strings, names, and the numbers that protocol 0 writes in letters.
bool PickleMachine::step_text(uint8_t opcode) {
  const auto push_text = [this](NodeKind kind, uint64_t size) {
    push(make(kind, reader_.text(size, "a text")));
    return true;
  };
  switch (opcode) {
    case 'X':
      return push_text(NodeKind::kString, reader_.u32("a size"));
    case 0x8c:
      return push_text(NodeKind::kString, reader_.u8("a size"));
    case 0x8d:
      return push_text(NodeKind::kString, reader_.u64("a size"));
    // Python 2's str: text to us, who only compare names.
    case 'T':
      return push_text(NodeKind::kString, reader_.u32("a size"));
    case 'U':
      return push_text(NodeKind::kString, reader_.u8("a size"));
    case 'B':
      return push_text(NodeKind::kBytes, reader_.u32("a size"));
    case 'C':
      return push_text(NodeKind::kBytes, reader_.u8("a size"));
    case 0x8e:
    case 0x96:
      return push_text(NodeKind::kBytes, reader_.u64("a size"));
    case 'V':
      push(make(NodeKind::kString, keep(unescape(reader_.line("a text")))));
      return true;
    case 'S': {
      std::string_view text = reader_.line("a text");
      if (text.size() < 2 || text.front() != text.back()) fail("a text lacks its quotes");
      text.remove_prefix(1);
      text.remove_suffix(1);
      push(make(NodeKind::kString, keep(unescape(text))));
      return true;
    }
    case 'I': {
      const std::string_view text = reader_.line("an integer");
      if (text == "00" || text == "01") {
        push(text == "01" ? constant(true_, NodeKind::kBool, 1)
                          : constant(false_, NodeKind::kBool));
      } else {
        push(decimal_int(text));
      }
      return true;
    }
    case 'L':
      push(decimal_int(reader_.line("an integer")));
      return true;
    case 'F':
      push(decimal_float(reader_.line("a float")));
      return true;
    case 'c': {
      const std::string_view module = reader_.line("a module's name");
      push(make_global(module, reader_.line("a class's name")));
      return true;
    }
    case 0x93:
      stack_global();
      return true;
    case 'P': {
      Node node;
      node.kind = NodeKind::kPersistent;
      node.arguments = make(NodeKind::kString, reader_.line("a persistent id"));
      push(add(node));
      return true;
    }
    default:
      return step_container(opcode);
  }
}

bool PickleMachine::step_container(uint8_t opcode) {
  switch (opcode) {
    case ')':
      push(constant(empty_tuple_, NodeKind::kTuple));
      return true;
    case 0x85:
      push(make_list(NodeKind::kTuple, pop_some(1)));
      return true;
    case 0x86:
      push(make_list(NodeKind::kTuple, pop_some(2)));
      return true;
    case 0x87:
      push(make_list(NodeKind::kTuple, pop_some(3)));
      return true;
    case 't':
      push(make_list(NodeKind::kTuple, pop_to_mark()));
      return true;
    case ']':
      push(make(NodeKind::kList));
      return true;
    case 'l':
      push(make_list(NodeKind::kList, pop_to_mark()));
      return true;
    case '}':
      push(make(NodeKind::kDict));
      return true;
    case 'd':
      push(make_dict(pop_to_mark()));
      return true;
    case 0x8f:
      push(make(NodeKind::kSet));
      return true;
    case 0x91:
      push(make_list(NodeKind::kSet, pop_to_mark()));
      return true;
    case 'a':
      append_to_top(pop_some(1), NodeKind::kList, "APPEND");
      return true;
    case 'e':
      append_to_top(pop_to_mark(), NodeKind::kList, "APPENDS");
      return true;
    case 's':
      append_to_top(pop_some(2), NodeKind::kDict, "SETITEM");
      return true;
    case 'u':
      append_to_top(pop_to_mark(), NodeKind::kDict, "SETITEMS");
      return true;
    case 0x90:
      append_to_top(pop_to_mark(), NodeKind::kSet, "ADDITEMS");
      return true;
    case 'i': {  // INST: class by name, arguments from the mark
      const std::string_view module = reader_.line("a module's name");
      const NodeId callable = make_global(module, reader_.line("a class's name"));
      push(make_object(callable, make_list(NodeKind::kTuple, pop_to_mark())));
      return true;
    }
    case 'o': {  // OBJ: class and arguments from the mark
      std::vector<NodeId> values = pop_to_mark();
      if (values.empty()) fail("OBJ has no class");
      const NodeId callable = values.front();
      values.erase(values.begin());
      push(make_object(callable, make_list(NodeKind::kTuple, std::move(values))));
      return true;
    }
    case 0x82:
    case 0x83:
    case 0x84:
      fail("extension codes need a registry that no checkpoint has");
    case 0x97:
    case 0x98:
      fail("its buffers are outside of the file");
    default:
      fail("opcode " + std::to_string(opcode) + " is not known");
  }
}

Pickle::Pickle(std::span<const uint8_t> bytes, const char* where, size_t origin) {
  PickleMachine(*this, bytes, where, origin).run();
}

}  // namespace lightcap
