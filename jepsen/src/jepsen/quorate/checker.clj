(ns jepsen.quorate.checker
  "Thin adapters: a history of Jepsen's and the log of truths, as the pure checkers of `quorate.checkers` take them."
  (:require [jepsen.checker :as checker]
            [jepsen.quorate.world :as world]
            [quorate.checkers :as pure]))

(defn- on-clock
  "What was logged with raw nanoseconds, on Jepsen's clock."
  [origin {:keys [nanos value] :as entry}]
  (let [at #(max 0 (- % origin))]
    (-> (dissoc entry :nanos)
        (assoc :time (at nanos))
        (cond-> (:arrived-nanos value) (-> (assoc-in [:value :arrived] (at (:arrived-nanos value)))
                                           (update :value dissoc :arrived-nanos))))))

(defn- plain
  "A client's operation as a plain map; what a node's log acknowledged, as an :add an element."
  [{:keys [time process type f value]}]
  (if (= :acknowledged f)
    (when (= :ok type)
      (for [element value] {:time time :process process :type :ok :f :add :value element}))
    [{:time time :process process :type type :f f :value value}]))

(defn history
  "The setup, the clients' operations and the truths, in order."
  [test jepsen-history]
  (let [{:keys [log origin]} @(:world test)
        clients (mapcat plain (filter #(integer? (:process %)) jepsen-history))
        truths (map #(on-clock @origin %) @log)
        setup {:time 0 :process :nemesis :type :info :f :setup :value (world/setup test)}]
    (vec (map-indexed #(assoc %2 :index %1) (cons setup (sort-by :time (concat clients truths)))))))

(defn invariant
  "One pure checker as a Jepsen checker."
  [check]
  (reify checker/Checker
    (check [_ test jepsen-history _opts]
      (check (history test jepsen-history)))))

(defn all
  "Every invariant, linearizability and the set of observations."
  []
  (checker/compose (into {} (for [[_ name check] pure/all] [(keyword name) (invariant check)]))))
