(ns jepsen.quorate.checker
  "Thin adapters: a history of Jepsen's and the log of truths, as the pure checkers of `quorate.checkers` take them."
  (:require [clojure.java.io :as io]
            [jepsen.checker :as checker]
            [jepsen.quorate.world :as world]
            [jepsen.store :as store]
            [quorate.checkers :as pure]
            [quorate.checkers.bound :as bound]
            [quorate.checkers.quorum :as quorum]
            [quorate.history :as h]))

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

(def kept
  "Keeps the history as the checkers take it, for `run-checkers`, and counts what it is about: a verdict on nothing is none."
  (reify checker/Checker
    (check [_ test jepsen-history _opts]
      (let [history (history test jepsen-history)
            outages (bound/outages history)]
        (with-open [out (io/writer (store/path! test "quorate.edn"))]
          (binding [*out* out] (run! prn history)))
        {:valid? true
         :seed (:seed test)
         :faults (frequencies (for [{:keys [value]} (h/infos history :nemesis :fault) :when (= :start (:phase value))] (:kind value)))
         :regions (frequencies (for [{:keys [value]} (h/infos history :nemesis :region)] (:kind value)))
         :writes (frequencies (for [{:keys [value]} (h/writes history)] (:outcome value)))
         :switches (into {} (for [[service _] (h/services history)]
                              [service (frequencies (map :cause (vals (h/switches history service))))]))
         :members (frequencies (for [{:keys [value completed]} (h/pairs history) :when (:change value)]
                                 [(:change value) (:type completed)]))
         :outages (count outages)
         :switched (count (filter :switched outages))
         :false-switches (count (quorum/false-switches history))}))))

(defn all
  "Every invariant, linearizability and the set of observations; and that each kind of operation succeeded at least once."
  []
  (checker/compose (into {:kept kept :stats (checker/stats) :exceptions (checker/unhandled-exceptions)}
                         (for [[_ name check] pure/all] [(keyword name) (invariant check)]))))
