(ns quorate.checkers.observations
  "Acknowledged reports are never lost: a set in full.

  A node counts its reports; :add of [node number] is :ok when the leader said that it took the report. At the end each node
  hands out what it applied (:reports), with the index of each and the stretches of the log that it covers. An acknowledged
  report that is in no recording is lost, unless its place could be in a stretch that nobody recorded. A number may stand in the
  log more than once, because a node that restarts counts anew until it is told where it was; but one place in the log holds
  the same reports in every recording."
  (:require [quorate.history :as h]))

(defn- gap? "Whether some index in [from to] is in no covered stretch." [covered from to]
  (loop [at from, spans (sort covered)]
    (if (> at to)
      false
      (if-let [[a b] (first (filter (fn [[a b]] (<= a at b)) spans))]
        (recur (inc b) spans)
        true))))

(defn- differing
  "The places at which two recordings that cover them hold different reports."
  [recordings]
  (let [by-index (map (fn [{:keys [elements]}]
                        (reduce (fn [held [node number index]] (update held index (fnil conj #{}) [node number])) {} elements))
                      recordings)]
    (for [index (sort (distinct (mapcat keys by-index)))
          :let [held (for [[recording reports] (map vector recordings by-index)
                           :when (not (gap? (:covered recording) index index))]
                       (get reports index #{}))]
          :when (> (count (distinct held)) 1)]
      [index (vec (distinct held))])))

(defn- accepted
  "By node: the [number index] of the reports that the log took, in order. A node that restarts counts anew and is refused until
  it counts above what it had: what is not above everything before it was refused."
  [elements]
  (into {} (for [[node of-node] (group-by first (distinct elements))]
             [node (loop [left (sort-by last of-node), highest 0, taken []]
                     (if-let [[_ number index] (first left)]
                       (if (> number highest)
                         (recur (rest left) number (conj taken [number index]))
                         (recur (rest left) highest taken))
                       taken))])))

(defn- lost?
  "Whether an acknowledged report is in no recording although its place is in a stretch that was recorded."
  [covered places accepted [node number :as element]]
  (when-not (contains? places element)
    (let [of-node (get accepted node)
          before (or (last (map second (take-while #(< (first %) number) of-node))) 0)
          after (first (keep (fn [[n index]] (when (> n number) index)) of-node))]
      ;; Without a later report of the node its place may be beyond all that was recorded.
      (and after (not (gap? covered (max 1 before) after))))))

(defn check [history]
  (let [recordings (map :value (h/oks history :reports))
        covered (h/merged (mapcat :covered recordings))
        elements (mapcat :elements recordings)
        places (into #{} (map (fn [[node number _]] [node number])) elements)
        accepted (accepted elements)
        acknowledged (distinct (map :value (h/oks history :add)))
        missing (remove #(contains? places %) acknowledged)
        lost (filter #(lost? covered places accepted %) missing)]
    (if (empty? recordings)
      {:valid? true :violations [] :unknown (count acknowledged)}
      (assoc (h/verdict :observations
                        (concat
                         (for [[node number] lost]
                           (str "report " number " of node " node " was acknowledged and is in no recording"))
                         (for [[index held] (differing recordings)]
                           (str "at index " index " the recordings hold " held))))
             :acknowledged (count acknowledged)
             :unknown (- (count missing) (count lost))))))
