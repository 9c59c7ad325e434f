#include "weights_converter/checkpoint/pickle.h"

namespace lightcap::internal {

std::span<const NodeId> Pickle::items(NodeId id) const {
  const Node& node = nodes_[id];
  switch (node.kind) {
    case NodeKind::kTuple:
    case NodeKind::kList:
    case NodeKind::kSet:
    case NodeKind::kDict:
    case NodeKind::kObject: {
      const List& list = lists_[node.list];
      return std::span(items_).subspan(list.begin, list.count);
    }
    default:
      return {};
  }
}

std::string_view Pickle::class_name(NodeId id) const {
  if (!is(id, NodeKind::kObject)) return {};
  NodeId callable = nodes_[id].call.callable;
  if (is(callable, NodeKind::kPersistent)) {
    // Old files keep a class's source beside it: ('module', class, file, text) or, in tar files,
    // (class, file, text).
    const auto fields = items(nodes_[callable].call.arguments);
    const size_t position = !fields.empty() && string(fields[0]) == "module" ? 1 : 0;
    callable = position < fields.size() ? fields[position] : kNoNode;
  }
  return is(callable, NodeKind::kGlobal) ? nodes_[callable].text : std::string_view();
}

std::span<const NodeId> Pickle::arguments(NodeId id) const {
  if (!is(id, NodeKind::kObject) || !is(nodes_[id].call.arguments, NodeKind::kTuple)) return {};
  return items(nodes_[id].call.arguments);
}

std::optional<int64_t> Pickle::integer(NodeId id) const {
  if (!is(id, NodeKind::kInt) && !is(id, NodeKind::kBool)) return std::nullopt;
  return nodes_[id].integer;
}

std::optional<std::string_view> Pickle::string(NodeId id) const {
  if (!is(id, NodeKind::kString)) return std::nullopt;
  return nodes_[id].text;
}

std::optional<std::vector<Pickle::Entry>> Pickle::entries(NodeId id) const {
  if (is(id, NodeKind::kDict)) return merge({}, items(id));
  if (!is(id, NodeKind::kObject)) return std::nullopt;
  const bool ordered = class_name(id) == "collections.OrderedDict";
  if (!ordered && !nodes_[id].keyed) return std::nullopt;
  // Python 2 gives the entries to the constructor: a list of pairs, or of lists of two.
  const auto made_with = ordered ? arguments(id) : std::span<const NodeId>();
  const auto pairs = made_with.size() == 1 ? items(made_with[0]) : std::span<const NodeId>();
  const auto flat = nodes_[id].keyed ? items(id) : std::span<const NodeId>();
  if (flat.size() % 2 != 0) return std::nullopt;
  return merge(pairs, flat);
}

// Entries from pairs and then from alternating keys and values. Charges them before it merges
// repeated keys: the time goes into what is there, however little of it remains.
std::vector<Pickle::Entry> Pickle::merge(std::span<const NodeId> pairs,
                                         std::span<const NodeId> flat) const {
  const size_t most = pairs.size() + flat.size() / 2;
  budget_.charge(uint64_t{most} * sizeof(Entry));
  std::vector<Entry> result;
  result.reserve(most);
  const auto add = [&](NodeId key, NodeId value) {
    if (is(key, NodeKind::kString)) {
      uint32_t& place = places_[text_number(key)];
      if (place != 0) {
        result[place - 1].second = value;
        return;
      }
      place = static_cast<uint32_t>(result.size() + 1);
    }
    result.emplace_back(key, value);
  };
  for (const NodeId pair : pairs) {
    const auto values = items(pair);
    if (values.size() == 2) add(values[0], values[1]);
  }
  for (size_t i = 0; i + 1 < flat.size(); i += 2) add(flat[i], flat[i + 1]);
  for (const auto& [key, value] : result) {
    if (is(key, NodeKind::kString)) places_[text_number(key)] = 0;
  }
  return result;
}

std::optional<std::vector<Pickle::Entry>> Pickle::attributes(NodeId id) const {
  if (!is(id, NodeKind::kObject)) return std::nullopt;
  NodeId state = nodes_[id].call.state;
  // Classes with __slots__ have a pair: the dictionary and the slots.
  if (is(state, NodeKind::kTuple) && items(state).size() == 2) state = items(state)[0];
  return entries(state);
}

NodeId Pickle::find(const Pickle& pickle, const std::vector<Entry>& entries, std::string_view key) {
  for (const auto& [name, value] : entries) {
    if (pickle.string(name) == key) return value;
  }
  return kNoNode;
}

}  // namespace lightcap::internal
