// Runs a pickle's program. The result is a Pickle, which nothing else makes.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_PICKLE_MACHINE_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_PICKLE_MACHINE_H_

#include <algorithm>
#include <array>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/io/limits.h"
#include "weights_converter/checkpoint/byte_reader.h"
#include "weights_converter/checkpoint/pickle.h"
#include "weights_converter/checkpoint/pickle_opcodes.h"

namespace lightcap::internal {

class PickleMachine {
 public:
  PickleMachine(Pickle& pickle, std::span<const uint8_t> bytes, const char* where, size_t origin)
      : pickle_(pickle), reader_(bytes, where, origin), origin_(origin) {
    pickle_.lists_.emplace_back();
    small_ints_.fill(kNoNode);
  }
  // Throws Error(kCheckpoint).
  void run();

 private:
  using Values = std::span<const NodeId>;

  [[noreturn]] void fail(const std::string& what) const;

  bool step();
  void read_operand(Operand kind);
  // Each does what an opcode of its kind says, or returns false for another kind.
  bool push_value(Opcode opcode);
  bool push_text(Opcode opcode);
  bool push_container(Opcode opcode);
  bool use_memo(Opcode opcode);
  bool use_class(Opcode opcode);
  void operate(Opcode opcode);

  NodeId decimal_int();
  NodeId decimal_float();
  NodeId long_bytes();
  uint64_t decimal_index() const;
  void put(uint64_t index);
  void get(uint64_t index);
  void append_to_top(Values values, NodeKind kind, const char* what);
  void call(NodeId arguments);
  void build();
  void stack_global();

  void push(NodeId id) { add_to(stack_, id); }
  void push_list(NodeKind kind, Values values) { push(make_list(kind, values)); }
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
  // These two hold until the next one.
  Values pop_some(size_t count);
  Values pop_to_mark();

  NodeId add(const Node& node);
  NodeId make(NodeKind kind);
  NodeId make_text(NodeKind kind, std::string_view text);
  NodeId make_int(int64_t value, NodeKind kind = NodeKind::kInt);
  NodeId make_float(double value);
  // None, True, small numbers: values that cannot change need only one node each.
  NodeId constant(NodeId& cached, NodeKind kind, int64_t value = 0);
  NodeId make_list(NodeKind kind, Values items);
  NodeId make_object(NodeId callable, NodeId arguments);
  NodeId make_persistent(NodeId id);
  NodeId make_global(std::string_view module, std::string_view name);
  std::string_view keep(std::string text);
  void append(NodeId id, Values more);
  void number_texts();

  // Charge memory to the budget before a vector takes it.
  template <class T>
  void add_to(std::vector<T>& vector, T value) {
    make_room(vector, vector.size() + 1);
    vector.push_back(value);
  }
  template <class T>
  void grow(std::vector<T>& vector, size_t size, T value) {
    make_room(vector, size);
    vector.resize(size, value);
  }
  template <class T>
  void make_room(std::vector<T>& vector, size_t size) {
    if (size <= vector.capacity()) return;
    const size_t capacity = std::max(size, 2 * vector.capacity());
    pickle_.budget_.charge((uint64_t{capacity} - vector.capacity()) * sizeof(T));
    vector.reserve(capacity);
  }

  Pickle& pickle_;
  ByteReader reader_;
  size_t origin_;

  // The operand of the opcode at hand.
  uint64_t number_ = 0;
  std::string_view text_, second_;

  std::vector<NodeId> stack_;
  std::vector<NodeId> popped_;
  std::vector<size_t> marks_;  // heights of the stack
  std::vector<NodeId> memo_;
  uint64_t memo_next_ = 0;
  NodeId none_ = kNoNode, true_ = kNoNode, false_ = kNoNode, empty_tuple_ = kNoNode;
  std::array<NodeId, 256> small_ints_{};
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_PICKLE_MACHINE_H_
