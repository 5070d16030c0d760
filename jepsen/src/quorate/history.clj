(ns quorate.history
  "What a history says, before anybody judges it.

  A history is a vector of operations in Jepsen's shape, {:index :time :process :type :f :value}; :time is in nanoseconds of
  one monotonic clock, the observer's. Three kinds of process write it: clients (numbers), the :nemesis, whose operations are
  the ground truth about nodes, network and regions, and the :witness, which is the provider and tells every request that it
  got. Checkers believe the witness and the nemesis; what the cluster says of itself they only compare with them.

  Needs clojure.core only.")

(defn setup
  "What was set up: the value of the first :setup operation."
  [history]
  (some #(when (= :setup (:f %)) (:value %)) history))

(defn service-of [history op] (get-in (setup history) [:services (get-in op [:value :service])]))

(defn services [history] (:services (setup history)))

(defn ms->ns [ms] (* 1000000 (or ms 0)))

(defn ms "Nanoseconds in milliseconds, whole ones." [ns] (quot ns 1000000))

(defn end "The time of the last operation." [history] (reduce max 0 (map :time history)))

(defn oks [history f] (filter #(and (= :ok (:type %)) (= f (:f %))) history))

(defn infos [history process f] (filter #(and (= process (:process %)) (= f (:f %))) history))

(defn final
  "The last :ok of f for this service."
  [history f service]
  (last (filter #(= service (get-in % [:value :service])) (oks history f))))

(defn lists
  "Every list of a service's switches that was read: the operations. The cluster keeps the newest few dozen only."
  [history service]
  (filter #(= service (get-in % [:value :service])) (oks history :switches)))

(defn switches
  "The switches of a service by epoch, each as it was read last."
  [history service]
  (into (sorted-map) (comp (mapcat #(get-in % [:value :switches])) (map (juxt :epoch identity))) (lists history service)))

(defn told?
  "Whether some list reaches over this epoch, so that it must be in it."
  [history service epoch]
  (boolean (some (fn [list]
                   (let [epochs (map :epoch (get-in list [:value :switches]))]
                     (and (seq epochs) (<= (apply min epochs) epoch (apply max epochs)))))
                 (lists history service))))

(defn pairs
  "Each client's operation as one: the invocation with :completed, the completion, or nil where none came."
  [history]
  (loop [ops (seq history), open {}, done []]
    (if-let [op (first ops)]
      (cond
        (not (integer? (:process op))) (recur (next ops) open done)
        (= :invoke (:type op)) (recur (next ops) (assoc open (:process op) op) done)
        :else (let [begun (get open (:process op))]
                (recur (next ops)
                       (dissoc open (:process op))
                       (if begun (conj done (assoc begun :completed op)) done))))
      (sort-by :index (concat done (map #(assoc % :completed nil) (vals open)))))))

;; --- Witness -----------------------------------------------------------------------------------------------------------

(defn writes
  "Every request to change a service's record that reached the witness, in the order in which the witness met them."
  [history]
  (infos history :witness :write))

(defn taken? [write] (= :taken (get-in write [:value :outcome])))

(defn standing?
  "Whether the record stood so afterwards. At grade C values and fence are published one after the other: the values that stand
  while the fence is still the old one are a :half of a write."
  [write]
  (contains? #{:taken :half} (get-in write [:value :outcome])))

(defn taken
  "The writes of a service that the witness took."
  [history service]
  (filter #(and (taken? %) (= service (get-in % [:value :service]))) (writes history)))

(defn first-taken
  "By epoch: when its first write was taken."
  [history service]
  (reduce (fn [times write]
            (let [epoch (get-in write [:value :epoch])]
              (if (contains? times epoch) times (assoc times epoch (:time write)))))
          {} (taken history service)))

;; --- Spans of ground truth -----------------------------------------------------------------------------------------------

(defn spans
  "Folds events into spans [from to] during which `on?` held; one that is open ends at `until`."
  [events on? until]
  (loop [events (seq events), since nil, found []]
    (if-let [event (first events)]
      (cond
        (and (on? event) (nil? since)) (recur (next events) (:time event) found)
        (and (not (on? event)) since) (recur (next events) nil (conj found [since (:time event)]))
        :else (recur (next events) since found))
      (if since (conj found [since until]) found))))

(defn region-spans
  "When a region was dead for one node, as the nemesis made it."
  [history service region node]
  (spans (filter #(and (= service (get-in % [:value :service])) (= region (get-in % [:value :region])))
                 (infos history :nemesis :region))
         #(boolean (some #{node} (get-in % [:value :dead-for])))
         (end history)))

(defn node-spans
  "When a node was in one of these states: :dead, :paused, :blind, :isolated."
  [history node states]
  (let [of-node (filter #(= node (get-in % [:value :node])) (infos history :nemesis :node))]
    (mapcat (fn [state]
              (spans (filter #(= state (get-in % [:value :state])) of-node)
                     #(boolean (get-in % [:value :on]))
                     (end history)))
            states)))

(defn fault-spans
  "When any fault of the cluster or the provider was under way, as [from to]."
  [history]
  (let [faults (infos history :nemesis :fault)]
    (mapcat (fn [[_ events]] (spans events #(= :start (get-in % [:value :phase])) (end history)))
            (group-by #(get-in % [:value :id]) faults))))

(defn merged
  "Spans without overlap, in order."
  [spans]
  (reduce (fn [done [from to]]
            (let [[last-from last-to] (peek done)]
              (if (and last-to (<= from last-to))
                (conj (pop done) [last-from (max last-to to)])
                (conj done [from to]))))
          [] (sort spans)))

(defn overlap "How much of [from to] these merged spans cover." [merged from to]
  (reduce + 0 (map (fn [[a b]] (max 0 (- (min b to) (max a from)))) merged)))

(defn covers? "Whether one span covers all of [from to]." [spans from to]
  (boolean (some (fn [[a b]] (and (<= a from) (>= b to))) spans)))

(defn meets? "Whether one span touches [from to] for at least `least`." [spans from to least]
  (boolean (some (fn [[a b]] (>= (- (min b to) (max a from)) least)) spans)))

(defn dead-spans
  "When a region was dead for at least `needed` of these nodes at once."
  [history service region nodes needed]
  (let [by-node (map #(region-spans history service region %) nodes)
        edges (sort-by (juxt first second)
                       (mapcat (fn [spans] (mapcat (fn [[a b]] [[a 1] [b -1]]) spans)) by-node))]
    (loop [edges edges, count 0, since nil, found []]
      (if-let [[at step] (first edges)]
        (let [now (+ count step)]
          (cond
            (and (>= now needed) (nil? since)) (recur (next edges) now at found)
            (and (< now needed) since) (recur (next edges) now nil (if (> at since) (conj found [since at]) found))
            :else (recur (next edges) now since found)))
        found))))

;; --- Verdicts ------------------------------------------------------------------------------------------------------------

(defn verdict
  "What a checker returns. Each violation is {:invariant … :why …}."
  [invariant whys]
  (let [violations (vec (map #(hash-map :invariant invariant :why %) whys))]
    {:valid? (empty? violations) :violations violations}))
